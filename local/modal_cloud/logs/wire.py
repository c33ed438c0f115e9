from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from local.modal_cloud import clock
from local.modal_cloud.logs.state import LogEntry, LogFilter
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

BATCH = 500


class LogsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def AppGetLogs(
        self, request: api_pb2.AppGetLogsRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.TaskLogsBatch]:
        """Streams from `last_entry_id` (empty: from the beginning) until the time-out, or until the app is over."""
        matching = LogFilter(
            app_id=request.app_id,
            function_id=request.parametrized_function_id or request.function_id,
            task_id=request.task_id,
            call_id=request.function_call_id,
            input_id=request.input_id,
            descriptor=request.file_descriptor,
            text=request.search_text,
        )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout
        number = int(request.last_entry_id or 0)
        while True:
            # Looked up before the entries: what is printed before the end is sent before the end.
            over = self._over(request)
            entries = self._cloud.logs.after(number, matching, BATCH)
            for batch in _batches(entries):
                yield batch
            if entries:
                number = entries[-1].number
                continue
            if over:
                yield api_pb2.TaskLogsBatch(app_done=True)
                return
            if loop.time() >= deadline:
                return
            await self._cloud.logs.wait(min(deadline - loop.time(), 5.0))

    def _over(self, request: api_pb2.AppGetLogsRequest) -> bool:
        if request.task_id and not request.app_id:
            return self._cloud.tasks.get(request.task_id).finished_at is not None
        app = self._cloud.apps.get(request.app_id)
        tasks = self._cloud.tasks.of_app(app.id)
        return app.stopped_at is not None and not tasks

    async def AppFetchLogs(self, request: api_pb2.AppFetchLogsRequest, caller: Caller) -> api_pb2.AppFetchLogsResponse:
        entries = self._cloud.logs.between(
            _seconds(request.since), _until(request.until), _filter(request), request.limit or 1000
        )
        return api_pb2.AppFetchLogsResponse(batches=list(_batches(entries)))

    async def AppCountLogs(self, request: api_pb2.AppCountLogsRequest, caller: Caller) -> api_pb2.AppCountLogsResponse:
        bucket = max(1, request.bucket_secs)
        since, until = _seconds(request.since), _until(request.until)
        counts = self._cloud.logs.count(since, until, bucket, _filter(request))
        return api_pb2.AppCountLogsResponse(
            app_id=request.app_id,
            buckets=[
                api_pb2.AppCountLogsResponse.LogBucket(
                    bucket_start_at=Timestamp(seconds=start),
                    stdout_logs=counts.get((start, api_pb2.FILE_DESCRIPTOR_STDOUT), 0),
                    stderr_logs=counts.get((start, api_pb2.FILE_DESCRIPTOR_STDERR), 0),
                    system_logs=counts.get((start, api_pb2.FILE_DESCRIPTOR_INFO), 0),
                )
                for start in sorted({start for start, _ in counts})
            ],
        )


def _filter(request: api_pb2.AppFetchLogsRequest | api_pb2.AppCountLogsRequest) -> LogFilter:
    return LogFilter(
        app_id=request.app_id,
        function_id=request.parametrized_function_id or request.function_id,
        task_id=request.task_id,
        call_id=request.function_call_id,
        descriptor=request.source,
        text=request.search_text,
    )


def _batches(entries: Iterable[LogEntry]) -> Iterable[api_pb2.TaskLogsBatch]:
    for (task_id, function_id), group in groupby(entries, key=lambda entry: (entry.task_id, entry.function_id)):
        items = list(group)
        yield api_pb2.TaskLogsBatch(
            task_id=task_id,
            function_id=function_id,
            entry_id=str(items[-1].number),
            items=[
                api_pb2.TaskLogs(
                    data=entry.data,
                    timestamp=entry.at,
                    timestamp_ns=int(entry.at * 1e9),
                    file_descriptor=api_pb2.FileDescriptor.ValueType(entry.descriptor),
                    function_call_id=entry.call_id,
                    input_id=entry.input_id,
                    container_id=task_id,
                )
                for entry in items
            ],
        )


def _until(stamp: Timestamp) -> float:
    """A client whose own clock is behind the cloud's means by its present everything up to ours."""
    seconds = _seconds(stamp)
    return seconds + clock.ahead() if seconds > time.time() - 60 else seconds


def _seconds(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
