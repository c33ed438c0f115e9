from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.environments.state import DEFAULT
from local.modal_cloud.errors import FailedPrecondition
from local.modal_cloud.naming import must_create
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

IMAGE_BUILDER_VERSION = "2025.06"


class EnvironmentsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest, caller: Caller
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        environments = self._cloud.environments
        name = request.deployment_name or DEFAULT
        found = environments.find(name)
        if must_create(found, request.object_creation_type, "Environment", name, name):
            found = environments.create(name)
        environment = found or environments.get(name)
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=environment.id,
            metadata=api_pb2.EnvironmentMetadata(
                name=environment.name,
                settings=api_pb2.EnvironmentSettings(image_builder_version=IMAGE_BUILDER_VERSION),
            ),
        )

    async def EnvironmentCreate(self, request: api_pb2.EnvironmentCreateRequest, caller: Caller) -> Empty:
        self._cloud.environments.create(request.name)
        return Empty()

    async def EnvironmentDelete(self, request: api_pb2.EnvironmentDeleteRequest, caller: Caller) -> Empty:
        running = [app.name for app in self._cloud.apps.running() if app.environment == request.name]
        if running:
            raise FailedPrecondition(
                f"Environment '{request.name}' has running apps: modal app stop {running[0]} -e {request.name}"
            )
        self._cloud.environments.delete(request.name)
        return Empty()

    async def EnvironmentList(self, request: Empty, caller: Caller) -> api_pb2.EnvironmentListResponse:
        return api_pb2.EnvironmentListResponse(
            items=[
                api_pb2.EnvironmentListItem(
                    name=environment.name,
                    environment_id=environment.id,
                    created_at=environment.created_at,
                    default=environment.name == DEFAULT,
                    image_builder_version=IMAGE_BUILDER_VERSION,
                    current_concurrent_tasks=len(
                        [
                            task
                            for task in self._cloud.tasks.unfinished()
                            if self._environment(task.app_id) == environment.name
                        ]
                    ),
                )
                for environment in self._cloud.environments.all()
            ]
        )

    def _environment(self, app_id: str) -> str:
        return self._cloud.apps.get(app_id).environment
