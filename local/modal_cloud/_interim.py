"""One container per function, and fixed URLs that nobody serves: stands in until scheduling/ and ingress/ are there."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import Any

from modal_proto import api_pb2

from local.modal_cloud.records import Endpoint


class Scheduler:
    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud
        self.containers: dict[str, Any] = {}
        self.results: dict[str, api_pb2.GenericResult] = {}
        self.jobs: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for task in self.cloud.tasks.unfinished():
            self.cloud.tasks.finish(
                task.id,
                api_pb2.GenericResult(
                    status=api_pb2.GenericResult.GENERIC_STATUS_TERMINATED, exception="the cloud was restarted"
                ),
            )
        for app in self.cloud.apps.running():
            for function in self.cloud.functions.of_app(app.id):
                if self.cloud.calls.queued(function.id):
                    self.inputs_queued(function.id)

    async def close(self) -> None:
        for container in self.containers.values():
            container.kill()
        await asyncio.gather(*self.jobs, return_exceptions=True)

    def inputs_queued(self, function_id: str) -> None:
        if not [t for t in self.cloud.tasks.of_function(function_id) if not self.cloud.calls.drained(t.id)]:
            job = asyncio.create_task(self.run(function_id))
            self.jobs.add(job)
            job.add_done_callback(self.jobs.discard)

    async def run(self, function_id: str) -> None:
        task = self.cloud.tasks.create(function_id)
        try:
            container = await self.cloud.runtime.launch(self.cloud.tasks.spec(task))
        except Exception as error:
            result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=str(error))
            self.cloud.tasks.finish(task.id, result)
            self.cloud.calls.fail_queued(function_id, result)
            return
        self.containers[task.id] = container
        self.cloud.tasks.started(task.id, container.pid)
        code = await container.wait()
        del self.containers[task.id]
        result = self.results.pop(
            task.id,
            api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=f"exit {code}"),
        )
        self.cloud.tasks.finish(task.id, result)
        if result.data:
            self.cloud.calls.fail_queued(function_id, result)
        elif self.cloud.calls.queued(function_id):
            self.inputs_queued(function_id)

    def app_published(self, app_id: str) -> None:
        app = self.cloud.apps.get(app_id)
        for task in self.cloud.tasks.of_app(app_id):
            if task.app_version != app.live_version:
                self.cloud.calls.drain(task.id)

    def app_stopped(self, app_id: str) -> None:
        for task in self.cloud.tasks.of_app(app_id):
            self.stop_task(task.id, False)

    def stop_task(self, task_id: str, graceful: bool) -> None:
        self.cloud.calls.drain(task_id)
        if not graceful and task_id in self.containers:
            self.containers[task_id].send_signal(signal.SIGINT)

    def input_overdue(self, task_id: str, input_id: str) -> None:
        self.stop_task(task_id, False)

    def task_result(self, task_id: str, result: api_pb2.GenericResult) -> None:
        self.results[task_id] = result

    def input_finished(self, task_id: str, input_id: str) -> None: ...
    def settings_changed(self, function_id: str) -> None: ...
    def container_ready(self, task_id: str) -> None: ...
    def server_entered(self, task_id: str) -> None: ...
    def heartbeat(self, task_id: str) -> None: ...


class Ingress:
    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def app_published(self, app_id: str) -> None: ...
    def app_stopped(self, app_id: str) -> None: ...

    def url_for(self, app_id: str, function_name: str, method: str = "") -> str:
        app = self.cloud.apps.get(app_id)
        key = f"{app.environment}/{app.name or app.description}/{function_name}" + (f".{method}" if method else "")
        found = self.cloud.endpoints.find(key)
        if found is None:
            with contextlib.closing(socket.socket()) as probe:
                probe.bind(("127.0.0.1", 0))
                found = Endpoint(key, probe.getsockname()[1], app_id, "", method)
            self.cloud.endpoints.save(found)
        return f"http://127.0.0.1:{found.port}"
