"""Results of inputs: what they say, how they are waited for, when there is another try."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from modal_proto import api_pb2

from local.modal_cloud.calls.ledger import Ledger
from local.modal_cloud.records import FunctionCall, Input, InputState

_Status = api_pb2.GenericResult


def failed(message: str) -> api_pb2.GenericResult:
    return api_pb2.GenericResult(status=_Status.GENERIC_STATUS_FAILURE, exception=message)


def terminated(message: str) -> api_pb2.GenericResult:
    return api_pb2.GenericResult(status=_Status.GENERIC_STATUS_TERMINATED, exception=message)


def timed_out(input_id: str, seconds: int) -> api_pb2.GenericResult:
    return api_pb2.GenericResult(
        status=_Status.GENERIC_STATUS_TIMEOUT,
        exception=f"Task's current input {input_id} hit its timeout of {seconds}s",
    )


def retry_delay(policy: api_pb2.FunctionRetryPolicy, failed_tries: int) -> float | None:
    """Seconds to wait before the next try; None when there is none left."""
    if failed_tries >= policy.retries:
        return None
    milliseconds = policy.initial_delay_ms * (policy.backoff_coefficient or 1.0) ** failed_tries
    return min(milliseconds, policy.max_delay_ms or milliseconds) / 1000


class Results:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def wake(self, call_id: str) -> None:
        event = self._changed.pop(call_id, None)
        if event is not None:
            event.set()

    async def wait(
        self, call: FunctionCall, after: int, wanted: Callable[[Input], bool], limit: int, seconds: float
    ) -> tuple[list[Input], int]:
        """Finished inputs from position `after` on in the order of their ends, and the position behind them. Waits for
        the first, at most so long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found: list[Input] = []
            position = after
            for input_id in call.output_ids[after:]:
                if limit and len(found) >= limit:
                    break
                position += 1
                item = self._ledger.find_input(input_id)
                if item is not None and wanted(item):
                    found.append(item)
            left = deadline - loop.time()
            if found or left <= 0:
                return found, position
            try:
                await asyncio.wait_for(self._changed[call.id].wait(), left)
            except TimeoutError:
                continue

    def unfinished(self, call: FunctionCall) -> int:
        """Inputs without a result, including those a map has announced but not sent."""
        waiting = sum(item.state is not InputState.DONE for item in self._ledger.inputs_of(call))
        return waiting + max(0, (call.expected_inputs or 0) - len(call.input_ids))
