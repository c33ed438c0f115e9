"""The states of an input: queued → running → done, or → waiting (for its next try) → queued."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.calls.ledger import Ledger
from local.modal_cloud.calls.queue import InputQueue
from local.modal_cloud.calls.results import Results, retry_delay, timed_out
from local.modal_cloud.calls.streams import CallStreams
from local.modal_cloud.clock import now
from local.modal_cloud.records import CallKind, Input, InputState

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_FINAL = (api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, api_pb2.GenericResult.GENERIC_STATUS_TERMINATED)


class Lifecycle:
    """Every change of state is saved before anyone hears of it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.ledger = Ledger(cloud.store)
        self.results = Results(self.ledger)
        self.queue = InputQueue()
        self.streams: dict[str, CallStreams] = {}
        self.on_task: dict[str, dict[str, Input]] = defaultdict(dict)
        """Inputs that occupy a container: running there, or ended from outside while it still works on them."""
        self.innocent_tasks: set[str] = set()
        """Tasks that are being stopped: their end is not the fault of what runs there."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def recover(self) -> None:
        """Takes up what a former life left: what ran is queued again, its container being gone."""
        for item in self.ledger.unfinished():
            if item.state is InputState.WAITING and item.due_at > now():
                self._requeue_later(item)
            else:
                self.enqueue(item)

    def enqueue(self, item: Input, front: bool = False) -> None:
        item.state = InputState.QUEUED
        self.ledger.save_input(item)
        self.queue.push(item, front)

    def run(self, item: Input, task_id: str) -> None:
        """Taken by a container; its time-out starts."""
        item.state = InputState.RUNNING
        item.task_id = task_id
        item.started_at = now()
        self.ledger.save_input(item)
        self.on_task[task_id][item.id] = item
        seconds = self._cloud.tasks.definition(task_id).function.timeout_secs
        if seconds:
            loop = asyncio.get_running_loop()
            self._timers[item.id] = loop.call_later(seconds, self._overdue, item, task_id, seconds)

    def runs_on(self, item: Input, task_id: str) -> bool:
        return item.state is InputState.RUNNING and item.task_id == task_id

    def end_try(self, item: Input, result: api_pb2.GenericResult, data_format: int) -> None:
        """The end, or the next try where the function's retry policy has one left."""
        call = self.ledger.find_call(item.call_id)
        delay = None
        if result.status not in _FINAL and call is not None and call.kind is not CallKind.WEB:
            policy = self._cloud.functions.definition_of(item.function_id).function.retry_policy
            delay = retry_delay(policy, item.tries)
        if delay is None:
            self.finish(item, result, data_format)
            return
        self._stop_timer(item)
        item.tries += 1
        item.state = InputState.WAITING
        item.due_at = now() + delay
        self.ledger.save_input(item)
        self._requeue_later(item)

    def finish(self, item: Input, result: api_pb2.GenericResult, data_format: int = 0) -> None:
        """From any state. Whoever waits for the result is told."""
        if item.state is InputState.QUEUED:
            self.queue.remove(item)
        self._stop_timer(item)
        item.state = InputState.DONE
        item.ended_at = now()
        item.result = result
        item.result_format = data_format
        item.payload = api_pb2.FunctionInput(method_name=item.payload.method_name)
        call = self.ledger.find_call(item.call_id)
        if call is None:
            return
        call.output_ids.append(item.id)
        self.ledger.save(call, [item])
        self.results.wake(call.id)
        if len(call.output_ids) == len(call.input_ids) and call.id in self.streams:
            self.streams[call.id].close()
        if call.kind is CallKind.WEB:
            self.streams.pop(call.id, None)
            self.ledger.forget(call)

    def release(self, item: Input, task_id: str) -> None:
        """The container has room for another one."""
        self.on_task[task_id].pop(item.id, None)
        self._cloud.scheduler.input_finished(task_id, item.id)

    def _overdue(self, item: Input, task_id: str, seconds: int) -> None:
        self._timers.pop(item.id, None)
        if self.runs_on(item, task_id):
            self.end_try(item, timed_out(item.id, seconds), 0)
            self.innocent_tasks.add(task_id)
            self._cloud.scheduler.input_overdue(task_id, item.id)

    def _requeue_later(self, item: Input) -> None:
        loop = asyncio.get_running_loop()
        self._timers[item.id] = loop.call_later(max(0.0, item.due_at - now()), self._requeue, item)

    def _requeue(self, item: Input) -> None:
        self._timers.pop(item.id, None)
        if item.state is InputState.WAITING:
            self.enqueue(item)
            self._cloud.scheduler.inputs_queued(item.function_id)

    def _stop_timer(self, item: Input) -> None:
        timer = self._timers.pop(item.id, None)
        if timer is not None:
            timer.cancel()
