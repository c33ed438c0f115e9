from __future__ import annotations

import asyncio
import logging
import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.calls.ledger import Ledger
from local.modal_cloud.calls.queue import InputQueue
from local.modal_cloud.calls.results import Results, failed, retry_delay, terminated, timed_out
from local.modal_cloud.calls.streams import CallStreams
from local.modal_cloud.calls.web import WebCall
from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import CallKind, FunctionCall, Input, InputState

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

log = logging.getLogger("local.modal_cloud.calls")

MAX_DEATHS = 3
"""So many containers may die under an input before it fails."""


class Calls:
    """The life of inputs: queued → running → done, or → waiting (for its next try) → queued."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.ledger = Ledger(cloud.store)
        self.results = Results(self.ledger)
        self._queue = InputQueue()
        self._on_task: dict[str, dict[str, Input]] = defaultdict(dict)
        self._drained: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._streams: dict[str, CallStreams] = {}
        self._cancelled: dict[str, list[str]] = defaultdict(list)
        self._cancelled_changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def start(self) -> None:
        """Takes up what a former life left: what ran is queued again, its container being gone."""
        for item in self.ledger.unfinished():
            if item.state is InputState.WAITING and item.due_at > now():
                self._requeue_later(item)
            else:
                self._enqueue(item)

    # -- new calls and inputs

    def create(
        self, function_id: str, kind: CallKind, invocation: int, is_map: bool = False, parent_input_id: str = ""
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
            self._enqueue(item)
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
        self._streams[call.id] = CallStreams(keep=False)
        payload = api_pb2.FunctionInput(
            args=pickle.dumps(((dict(scope),), {}), protocol=4), data_format=api_pb2.DATA_FORMAT_PICKLE
        )
        if method:
            payload.method_name = method
        (item,) = self.add_inputs(call, [(0, payload)])
        return WebCall(item, self._streams[call.id], self._cloud.blobs.file, self._abandon_web)

    def streams(self, call_id: str) -> CallStreams:
        """Raises NotFound for a call that is over and forgotten."""
        if call_id not in self._streams:
            self.ledger.call(call_id)
            self._streams[call_id] = CallStreams(keep=True)
        return self._streams[call_id]

    # -- what containers do

    async def take(self, task_id: str, seconds: float) -> Input | None:
        """The next input for a task; None when there was none for so long, or when the task is drained (`drained`)."""
        function_id = self._cloud.tasks.get(task_id).function_id
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.drained(task_id):
            item = self._queue.pop(function_id)
            if item is not None:
                self._run(item, task_id)
                return item
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return None
            await self._queue.wait(function_id, left)
        return None

    def put_output(self, task_id: str, input_id: str, result: api_pb2.GenericResult, data_format: int) -> None:
        """The container is done with the input. What comes late (after a time-out, a cancellation, a second time) only
        frees its slot."""
        item = self._on_task.get(task_id, {}).get(input_id)
        if item is None:
            return
        if item.state is InputState.RUNNING and item.task_id == task_id:
            self._end_try(item, result, data_format)
        self._release(item, task_id)

    def task_ended(self, task_id: str, result: api_pb2.GenericResult) -> None:
        """The container is gone: what ran there runs again elsewhere, unless it took too many containers with it."""
        for item in list(self._on_task.pop(task_id, {}).values()):
            if item.state is not InputState.RUNNING or item.task_id != task_id:
                continue
            item.deaths += 1
            if self._began_response(item):
                # The client has seen part of the answer: a second one can't follow it.
                self._finish(item, terminated(f"its container ended: {result.exception or 'stopped'}"), 0)
            elif item.deaths >= MAX_DEATHS:
                reason = result.exception or "no reason given"
                self._finish(item, failed(f"{item.deaths} containers ended while running this input: {reason}"), 0)
            else:
                self._enqueue(item, front=True)
                self._cloud.scheduler.inputs_queued(item.function_id)
        self._drained.discard(task_id)
        self._cancelled.pop(task_id, None)

    def drain(self, task_id: str) -> None:
        self._drained.add(task_id)
        self._queue.wake(self._cloud.tasks.get(task_id).function_id)

    def drained(self, task_id: str) -> bool:
        return task_id in self._drained or self._cloud.tasks.get(task_id).finished_at is not None

    async def next_cancellations(self, task_id: str, seconds: float) -> list[str]:
        """Ids of inputs that the task must cancel; waits for some, at most so long."""
        if not self._cancelled[task_id]:
            try:
                await asyncio.wait_for(self._cancelled_changed[task_id].wait(), seconds)
            except TimeoutError:
                return []
        self._cancelled_changed[task_id].clear()
        return self._cancelled.pop(task_id, [])

    # -- ends from outside

    def cancel(self, call: FunctionCall, terminate_containers: bool) -> None:
        """Unfinished inputs end now, as TERMINATED; containers are told to stop working on them."""
        call.cancelled = True
        self._end_inputs(
            [item for item in self.ledger.inputs_of(call) if item.state is not InputState.DONE],
            terminated("the function call was cancelled"),
            terminate_containers,
        )
        self.ledger.save(call)

    def fail_queued(self, function_id: str, result: api_pb2.GenericResult) -> int:
        """Ends all queued inputs with this result (crash loop); returns how many."""
        items = self._queue.items(function_id)
        for item in items:
            self._finish(item, result, 0)
        return len(items)

    def app_stopped(self, app_id: str) -> None:
        app = self._cloud.apps.get(app_id)
        self._end_inputs(self.unfinished_of_app(app_id), terminated(f"App '{app.name or app.id}' was stopped"), False)

    def function_gone(self, function_id: str, reason: str) -> None:
        items = [item for item in self.ledger.unfinished() if item.function_id == function_id]
        self._end_inputs(items, terminated(reason), False)

    # -- numbers

    def queued(self, function_id: str) -> int:
        return self._queue.length(function_id)

    def running(self, function_id: str) -> int:
        tasks = self._cloud.tasks.of_function(function_id)
        return sum(len(self._on_task.get(task.id, ())) for task in tasks)

    def running_on(self, task_id: str) -> list[Input]:
        """Inputs that occupy the container."""
        return list(self._on_task.get(task_id, {}).values())

    def unfinished_of_app(self, app_id: str) -> list[Input]:
        return [item for item in self.ledger.unfinished() if self._app_of(item) == app_id]

    # -- the state machine

    def _enqueue(self, item: Input, front: bool = False) -> None:
        item.state = InputState.QUEUED
        self.ledger.save_input(item)
        self._queue.push(item, front)

    def _run(self, item: Input, task_id: str) -> None:
        item.state = InputState.RUNNING
        item.task_id = task_id
        item.started_at = now()
        self.ledger.save_input(item)
        self._on_task[task_id][item.id] = item
        seconds = self._cloud.tasks.definition(task_id).function.timeout_secs
        if seconds:
            loop = asyncio.get_running_loop()
            self._timers[item.id] = loop.call_later(seconds, self._overdue, item, task_id, seconds)

    def _overdue(self, item: Input, task_id: str, seconds: int) -> None:
        self._timers.pop(item.id, None)
        if item.state is not InputState.RUNNING or item.task_id != task_id:
            return
        self._end_try(item, timed_out(item.id, seconds), 0)
        self._cloud.scheduler.input_overdue(task_id, item.id)

    def _end_try(self, item: Input, result: api_pb2.GenericResult, data_format: int) -> None:
        """Success, or the next try where the function's retry policy has one left."""
        call = self.ledger.find_call(item.call_id)
        delay = None
        if (
            result.status
            not in (
                api_pb2.GenericResult.GENERIC_STATUS_SUCCESS,
                api_pb2.GenericResult.GENERIC_STATUS_TERMINATED,
            )
            and call is not None
            and call.kind is not CallKind.WEB
        ):
            policy = self._cloud.functions.definition_of(item.function_id).function.retry_policy
            delay = retry_delay(policy, item.tries)
        if delay is None:
            self._finish(item, result, data_format)
            return
        self._stop_timer(item)
        item.tries += 1
        item.state = InputState.WAITING
        item.due_at = now() + delay
        self.ledger.save_input(item)
        self._requeue_later(item)

    def _requeue_later(self, item: Input) -> None:
        loop = asyncio.get_running_loop()
        self._timers[item.id] = loop.call_later(max(0.0, item.due_at - now()), self._requeue, item)

    def _requeue(self, item: Input) -> None:
        self._timers.pop(item.id, None)
        if item.state is InputState.WAITING:
            self._enqueue(item)
            self._cloud.scheduler.inputs_queued(item.function_id)

    def _finish(self, item: Input, result: api_pb2.GenericResult, data_format: int) -> None:
        if item.state is InputState.QUEUED:
            self._queue.remove(item)
        self._stop_timer(item)
        item.state = InputState.DONE
        item.ended_at = now()
        item.result = result
        item.result_format = data_format
        call = self.ledger.find_call(item.call_id)
        if call is None:
            return
        call.output_ids.append(item.id)
        self.ledger.save(call, [item])
        self.results.wake(call.id)
        if call.id in self._streams and len(call.output_ids) == len(call.input_ids):
            self._streams[call.id].close()
            if call.kind is CallKind.WEB:
                del self._streams[call.id]
        if call.kind is CallKind.WEB:
            self.ledger.forget(call)

    def _release(self, item: Input, task_id: str) -> None:
        self._on_task[task_id].pop(item.id, None)
        self._cloud.scheduler.input_finished(task_id, item.id)

    def _end_inputs(self, items: Sequence[Input], result: api_pb2.GenericResult, terminate_containers: bool) -> None:
        for item in items:
            task_id = item.task_id if item.state is InputState.RUNNING else None
            self._finish(item, result, 0)
            if task_id is None:
                continue
            self._cancelled[task_id].append(item.id)
            self._cancelled_changed[task_id].set()
            if terminate_containers:
                self._cloud.scheduler.stop_task(task_id, graceful=False)

    def _abandon_web(self, web: WebCall) -> None:
        if web.queued:
            self._finish(web.item, terminated("the client went away"), 0)
        elif web.result is None:
            web.send(api_pb2.Asgi(http_disconnect=api_pb2.Asgi.HttpDisconnect()))

    def _began_response(self, item: Input) -> bool:
        streams = self._streams.get(item.call_id)
        return streams is not None and streams.data_out.last_index > 0

    def _app_of(self, item: Input) -> str:
        call = self.ledger.find_call(item.call_id)
        return call.app_id if call else ""

    def _stop_timer(self, item: Input) -> None:
        timer = self._timers.pop(item.id, None)
        if timer is not None:
            timer.cancel()
