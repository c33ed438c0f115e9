from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.errors import NotFound
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

HEARTBEAT_POLL = 14.0
"""Seconds. The runtime sends a heartbeat every 15 s: an answer at once would leave cancellations waiting as long."""


class TasksWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # -- from containers

    async def ContainerHello(self, request: Empty, caller: Caller) -> Empty:
        self._cloud.scheduler.heartbeat(caller.task())
        return Empty()

    async def ContainerHeartbeat(
        self, request: api_pb2.ContainerHeartbeatRequest, caller: Caller
    ) -> api_pb2.ContainerHeartbeatResponse:
        self._cloud.scheduler.heartbeat(caller.task())
        input_ids = await self._cloud.calls.cancellations.next(caller.task(), HEARTBEAT_POLL)
        if not input_ids:
            return api_pb2.ContainerHeartbeatResponse()
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=api_pb2.CancelInputEvent(input_ids=input_ids))

    async def ContainerServerLifecycleReady(
        self, request: api_pb2.ContainerServerLifecycleReadyRequest, caller: Caller
    ) -> Empty:
        self._cloud.scheduler.server_entered(caller.task())
        return Empty()

    async def TaskResult(self, request: api_pb2.TaskResultRequest, caller: Caller) -> Empty:
        self._cloud.scheduler.task_result(caller.task(), request.result)
        return Empty()

    # -- from anyone

    async def ContainerStop(
        self, request: api_pb2.ContainerStopRequest, caller: Caller
    ) -> api_pb2.ContainerStopResponse:
        task_id = request.task_id or caller.task()
        self._cloud.tasks.get(task_id)
        self._cloud.calls.stopping(task_id)
        self._cloud.scheduler.stop_task(task_id, request.graceful)
        return api_pb2.ContainerStopResponse()

    async def TaskList(self, request: api_pb2.TaskListRequest, caller: Caller) -> api_pb2.TaskListResponse:
        if request.app_id:
            tasks = self._cloud.tasks.of_app(request.app_id)
        else:
            environment = self._cloud.environment_of(request.environment_name, caller)
            apps = {app.id for app in self._cloud.apps.all(environment)}
            tasks = [task for task in self._cloud.tasks.unfinished() if task.app_id in apps]
        return api_pb2.TaskListResponse(
            tasks=[
                api_pb2.TaskStats(
                    task_id=task.id,
                    app_id=task.app_id,
                    app_description=self._describe(task.app_id),
                    started_at=task.started_at or 0,
                    enqueued_at=task.enqueued_at,
                )
                for task in tasks
            ]
        )

    async def TaskGetInfo(self, request: api_pb2.TaskGetInfoRequest, caller: Caller) -> api_pb2.TaskGetInfoResponse:
        task = self._cloud.tasks.get(request.task_id)
        return api_pb2.TaskGetInfoResponse(
            app_id=task.app_id,
            info=api_pb2.TaskInfo(
                id=task.id,
                enqueued_at=task.enqueued_at,
                started_at=task.started_at or 0,
                finished_at=task.finished_at or 0,
                result=task.result,
                gpu_config=self._gpu(task.id),
            ),
        )

    async def FlashContainerList(
        self, request: api_pb2.FlashContainerListRequest, caller: Caller
    ) -> api_pb2.FlashContainerListResponse:
        ready = [task for task in self._cloud.tasks.of_function(request.function_id) if task.ready_at is not None]
        port = self._cloud.functions.definition_of(request.function_id).function.http_config.port
        return api_pb2.FlashContainerListResponse(
            containers=[
                api_pb2.FlashContainerListResponse.Container(task_id=task.id, host="127.0.0.1", port=port)
                for task in ready
            ]
        )

    def _describe(self, app_id: str) -> str:
        app = self._cloud.apps.get(app_id)
        return app.name or app.description

    def _gpu(self, task_id: str) -> api_pb2.GPUConfig | None:
        try:
            return self._cloud.tasks.definition(task_id).gpu(self._cloud.tasks.get(task_id))
        except NotFound:
            return None
