"""All calls and inputs: remote and scheduled ones on disk, web requests in memory only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.records import CallKind, FunctionCall, Input, InputState
from local.modal_cloud.store import Store, Table

KEPT_SECONDS = 7 * 86400
"""How long results can be fetched after the end of a call."""


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls = Table(store, "calls", FunctionCall)
        self._inputs = Table(store, "inputs", Input)
        self._web_calls: dict[str, FunctionCall] = {}
        self._web_inputs: dict[str, Input] = {}
        self._by_request = {call.request_key: call.id for call in self._calls.all() if call.request_key}
        self._prune()

    def call(self, call_id: str) -> FunctionCall:
        found = self.find_call(call_id)
        if found is None:
            raise NotFound(f"Function call '{call_id}' not found, or its result has expired")
        return found

    def find_call(self, call_id: str) -> FunctionCall | None:
        return self._web_calls.get(call_id) or self._calls.find(call_id)

    def call_of_request(self, request_key: str) -> FunctionCall | None:
        return self._calls.find(self._by_request.get(request_key, ""))

    def find_input(self, input_id: str) -> Input | None:
        return self._web_inputs.get(input_id) or self._inputs.find(input_id)

    def inputs_of(self, call: FunctionCall) -> Iterator[Input]:
        for input_id in call.input_ids:
            found = self.find_input(input_id)
            if found is not None:
                yield found

    def save(self, call: FunctionCall, inputs: Iterable[Input] = ()) -> None:
        """In one transaction."""
        if call.kind is CallKind.WEB:
            self._web_calls[call.id] = call
            self._web_inputs.update({item.id: item for item in inputs})
            return
        with self._store.transaction():
            self._calls.save(call)
            if call.request_key:
                self._by_request[call.request_key] = call.id
            for item in inputs:
                self._inputs.save(item)

    def save_input(self, item: Input) -> None:
        if item.id in self._web_inputs:
            return
        self._inputs.save(item)

    def forget(self, call: FunctionCall) -> None:
        with self._store.transaction():
            for input_id in call.input_ids:
                if self._web_inputs.pop(input_id, None) is None:
                    self._inputs.delete(input_id)
            if self._web_calls.pop(call.id, None) is None:
                self._calls.delete(call.id)
                self._by_request.pop(call.request_key, None)

    def unfinished(self) -> list[Input]:
        """In order of arrival."""
        waiting = self._inputs.where(lambda item: item.state is not InputState.DONE)
        waiting += [item for item in self._web_inputs.values() if item.state is not InputState.DONE]
        return sorted(waiting, key=lambda item: item.enqueued_at)

    def _prune(self) -> None:
        horizon = now() - KEPT_SECONDS
        for call in self._calls.all():
            ends = [item.ended_at for item in self.inputs_of(call)]
            if all(end is not None and end < horizon for end in ends) and call.created_at < horizon:
                self.forget(call)
