from __future__ import annotations

import platform
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.records import Image
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class ImagesWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def ImageGetOrCreate(
        self, request: api_pb2.ImageGetOrCreateRequest, caller: Caller
    ) -> api_pb2.ImageGetOrCreateResponse:
        force = request.force_build or request.ignore_cache
        image, cached = self._cloud.images.get_or_create(request.image, request.builder_version, force)
        if not cached:
            # No result yet: the client follows the build with ImageJoinStreaming.
            return api_pb2.ImageGetOrCreateResponse(image_id=image.id)
        return api_pb2.ImageGetOrCreateResponse(image_id=image.id, result=_result(image), metadata=_metadata(image))

    async def ImageJoinStreaming(
        self, request: api_pb2.ImageJoinStreamingRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.ImageJoinStreamingResponse]:
        image = self._cloud.images.get(request.image_id)
        yield api_pb2.ImageJoinStreamingResponse(
            entry_id="1",
            task_logs=[
                api_pb2.TaskLogs(
                    data=self._cloud.images.build_log(image),
                    timestamp=image.created_at,
                    file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT,
                )
            ],
        )
        yield api_pb2.ImageJoinStreamingResponse(
            entry_id="2", result=_result(image), metadata=_metadata(image), eof=True
        )

    async def ImageFromId(self, request: api_pb2.ImageFromIdRequest, caller: Caller) -> api_pb2.ImageFromIdResponse:
        image = self._cloud.images.get(request.image_id)
        return api_pb2.ImageFromIdResponse(image_id=image.id, metadata=_metadata(image))


def _result(image: Image) -> api_pb2.GenericResult:
    if image.error is None:
        return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
    return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=image.error)


def _metadata(image: Image) -> api_pb2.ImageMetadata:
    return api_pb2.ImageMetadata(
        image_builder_version=image.builder_version, python_version_info=f"Python {platform.python_version()}"
    )
