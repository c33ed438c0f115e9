from __future__ import annotations

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.calls.cancellations import Cancellations
from local.modal_cloud.calls.lifecycle import Lifecycle
from local.modal_cloud.calls.results import failed, terminated
from local.modal_cloud.calls.streams import CallStreams
from local.modal_cloud.calls.web import WebCall
from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import CallKind, FunctionCall, Input, InputState

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

MAX_DEATHS = 3
"""So many containers may die under an input before it fails."""
DELIVERED_KEPT_SECONDS = 300.0


class Calls:
    """What callers, containers and the scheduler do to calls; the states themselves are in `lifecycle`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._life = Lifecycle(cloud)
        self.ledger = self._life.ledger
        self.results = self._life.results
        self.cancellations = Cancellations()
        self._drained: set[str] = set()
        self._fetched: dict[str, tuple[str, list[Input]]] = {}
        """Task → its last request for inputs, and what it was given."""
        self._closing = False

    def start(self) -> None:
        self._life.recover()

    def close(self) -> None:
        """Containers that end from now on are no fault of their inputs."""
        self._closing = True

    # -- new calls and inputs

    def create(
        self,
        function_id: str,
        kind: CallKind,
        invocation: int,
        is_map: bool = False,
        parent_input_id: str = "",
        request_key: str = "",
    ) -> FunctionCall:
        """A call without inputs. Raises NotFound for a function that is not live."""
        function = self._cloud.functions.get(function_id)
        app = self._cloud.apps.get(function.app_id)
        if function.live is None or not app.running:
            raise NotFound(f"Function '{function.name}' is not deployed: its App '{app.name or app.id}' was stopped")
        call = FunctionCall(
            id=new_id("fc"),
            function_id=function_id,
            app_id=app.id,
            kind=kind,
            invocation=invocation,
            created_at=now(),
            is_map=is_map,
            parent_input_id=parent_input_id,
            request_key=request_key,
        )
        self.ledger.save(call)
        return call

    def add_inputs(self, call: FunctionCall, payloads: Sequence[tuple[int, api_pb2.FunctionInput]]) -> list[Input]:
        """(index, input) each. They are saved when this returns."""
        items = [
            Input(
                id=new_id("in"),
                call_id=call.id,
                function_id=call.function_id,
                idx=index,
                payload=payload,
                enqueued_at=now(),
            )
            for index, payload in payloads
        ]
        call.input_ids.extend(item.id for item in items)
        self.ledger.save(call, items)
        for item in items:
            self._life.queue.push(item)
        if items:
            self._cloud.scheduler.inputs_queued(call.function_id)
        return items

    def invoke_scheduled(self, function_id: str) -> str:
        """A call without arguments that nobody waits for. Returns its id."""
        call = self.create(function_id, CallKind.SCHEDULED, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC)
        self.add_inputs(call, [(0, api_pb2.FunctionInput())])
        return call.id

    def open_web(self, function_id: str, method: str, scope: Mapping[str, object]) -> WebCall:
        """Queues an ASGI request. Raises NotFound for a function that is not live."""
        call = self.create(function_id, CallKind.WEB, api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC)
        streams = self._life.streams[call.id] = CallStreams(keep=False)
        payload = api_pb2.FunctionInput(
            args=pickle.dumps(((dict(scope),), {}), protocol=4), data_format=api_pb2.DATA_FORMAT_PICKLE
        )
        if method:
            payload.method_name = method
        (item,) = self.add_inputs(call, [(0, payload)])
        goodbye = api_pb2.Asgi(http_disconnect=api_pb2.Asgi.HttpDisconnect())
        if scope["type"] == "websocket":
            goodbye = api_pb2.Asgi(websocket_disconnect=api_pb2.Asgi.WebsocketDisconnect(code=1006))
        return WebCall(item, streams, self._cloud.blobs.file, self._abandon_web, goodbye)

    def streams(self, call_id: str) -> CallStreams:
        """Raises NotFound for a call that is over and forgotten."""
        if call_id not in self._life.streams:
            call = self.ledger.call(call_id)
            streams = self._life.streams[call_id] = CallStreams(keep=True)
            if call.input_ids and len(call.output_ids) == len(call.input_ids):
                streams.close()
        return self._life.streams[call_id]

    # -- what containers do

    async def take(self, task_id: str, seconds: float) -> Input | None:
        """The next input for a task; None when there was none for so long, or when the task is drained (`drained`)."""
        function_id = self._cloud.tasks.get(task_id).function_id
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.drained(task_id):
            item = self._life.queue.pop(function_id)
            if item is not None:
                self._life.run(item, task_id)
                return item
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self._life.queue.wait(function_id, left)
        return None

    async def take_batch(
        self, task_id: str, seconds: float, most: int, linger: float, request_key: str = ""
    ) -> list[Input]:
        """Up to `most` inputs at once (`@modal.batched`), `linger` seconds after the first at the latest. A container
        that asks once more with the same request has not got the answer: it gets the same inputs again."""
        key, batch = self._fetched.get(task_id, ("", []))
        if request_key and key == request_key:
            again = [item for item in batch if self._life.runs_on(item, task_id)]
            if again:
                return again
        batch = []
        self._fetched[task_id] = (request_key, batch)
        first = await self.take(task_id, seconds)
        if first is None:
            return []
        batch.append(first)
        deadline = asyncio.get_running_loop().time() + linger
        while len(batch) < most:
            left = deadline - asyncio.get_running_loop().time()
            item = await self.take(task_id, left)
            if item is None:
                break
            batch.append(item)
        return batch

    def put_output(
        self, task_id: str, input_id: str, result: api_pb2.GenericResult, data_format: int, attempt: int
    ) -> None:
        """The container is done with an attempt at the input. What comes late (after a time-out, a cancellation) only
        frees its slot; what comes a second time, when the container has the next attempt already, is left alone."""
        item = self._life.on_task.get(task_id, {}).get(input_id)
        if item is None:
            return
        if self._life.runs_on(item, task_id):
            if attempt != item.tries:
                return
            self._life.end_try(item, result, data_format)
        self._life.release(item, task_id)

    def task_ended(self, task_id: str, result: api_pb2.GenericResult) -> None:
        """The container is gone: what ran there runs again elsewhere, unless it took too many containers with it."""
        stopped = result.status == api_pb2.GenericResult.GENERIC_STATUS_TERMINATED or self._closing
        innocent = stopped or task_id in self._life.innocent_tasks or task_id in self._drained
        reason = result.exception or "it was stopped" if innocent else result.exception or "it ended without a word"
        for item in list(self._life.on_task.pop(task_id, {}).values()):
            if not self._life.runs_on(item, task_id):
                continue
            item.deaths += not innocent
            if self._began_response(item):
                # The client has seen part of the answer: a second one can't follow it.
                self._life.finish(item, terminated(f"its container ended: {reason}"))
            elif item.deaths >= MAX_DEATHS:
                message = f"{item.deaths} containers ended while running this input, the last one because: {reason}"
                self._life.finish(item, failed(message))
            else:
                self._life.enqueue(item, front=True)
                self._cloud.scheduler.inputs_queued(item.function_id)
        self._drained.discard(task_id)
        self._fetched.pop(task_id, None)
        self._life.innocent_tasks.discard(task_id)
        self.cancellations.forget(task_id)

    def drain(self, task_id: str) -> None:
        """The task takes no more inputs: FunctionGetInputs answers the kill switch, at once if it waits."""
        self._drained.add(task_id)
        self._life.queue.wake(self._cloud.tasks.get(task_id).function_id)

    def drained(self, task_id: str) -> bool:
        return task_id in self._drained or self._cloud.tasks.get(task_id).finished_at is not None

    def stopping(self, task_id: str) -> None:
        """Someone stops the container: what runs there has no part in its end."""
        self._life.innocent_tasks.add(task_id)

    # -- ends from outside

    def cancel(self, call: FunctionCall, terminate_containers: bool) -> None:
        """Unfinished inputs end now, as TERMINATED; containers are told to stop working on them."""
        call.cancelled = True
        items = [item for item in self.ledger.inputs_of(call) if item.state is not InputState.DONE]
        self._end_inputs(items, terminated("the function call was cancelled"), terminate_containers)
        self.ledger.save(call)

    def fail_queued(self, function_id: str, result: api_pb2.GenericResult) -> int:
        """Ends all queued inputs with this result (crash loop); returns how many."""
        items = self._life.queue.items(function_id)
        for item in items:
            self._life.finish(item, result)
        return len(items)

    def app_stopped(self, app_id: str) -> None:
        app = self._cloud.apps.get(app_id)
        self._end_inputs(self.unfinished_of_app(app_id), terminated(f"App '{app.name or app.id}' was stopped"))

    def function_gone(self, function_id: str, reason: str) -> None:
        items = [item for item in self.ledger.unfinished() if item.function_id == function_id]
        self._end_inputs(items, terminated(reason))

    def delivered(self, call: FunctionCall) -> None:
        """The only one who waits for the call's results has them all: they go soon (not at once, since the answer may
        have been lost on its way)."""
        if call.kind is CallKind.REMOTE and not call.is_map and self.results.unfinished(call) == 0:
            asyncio.get_running_loop().call_later(DELIVERED_KEPT_SECONDS, self._forget, call)

    # -- numbers

    def queued(self, function_id: str) -> int:
        return self._life.queue.length(function_id)

    def is_open(self, call_id: str) -> bool:
        """Something of it still waits or runs."""
        call = self.ledger.find_call(call_id)
        return call is not None and len(call.output_ids) < len(call.input_ids)

    def running(self, function_id: str) -> int:
        tasks = self._cloud.tasks.of_function(function_id)
        return sum(len(self.running_on(task.id)) for task in tasks)

    def running_on(self, task_id: str) -> list[Input]:
        """Inputs that occupy the container."""
        return list(self._life.on_task.get(task_id, {}).values())

    def unfinished_of_app(self, app_id: str) -> list[Input]:
        def app_of(item: Input) -> str:
            call = self.ledger.find_call(item.call_id)
            return call.app_id if call else ""

        return [item for item in self.ledger.unfinished() if app_of(item) == app_id]

    def _end_inputs(
        self, items: Sequence[Input], result: api_pb2.GenericResult, terminate_containers: bool = False
    ) -> None:
        for item in items:
            task_id = item.task_id if item.state is InputState.RUNNING else None
            self._life.finish(item, result)
            if task_id is None:
                self._cloud.scheduler.inputs_queued(item.function_id)  # fewer than before
                continue
            if terminate_containers:
                # The signal alone: one that comes while the container drops the input is lost in the SDK.
                self.stopping(task_id)
                self._cloud.scheduler.stop_task(task_id, graceful=False)
            else:
                self.cancellations.add(task_id, item.id)

    def _abandon_web(self, web: WebCall) -> None:
        if web.queued:
            self._life.finish(web.item, terminated("the client went away"))
        elif web.result is None:
            web.send(web.goodbye)

    def _began_response(self, item: Input) -> bool:
        streams = self._life.streams.get(item.call_id)
        return streams is not None and streams.data_out.last_index > 0

    def _forget(self, call: FunctionCall) -> None:
        self._life.streams.pop(call.id, None)
        self.ledger.forget(call)
