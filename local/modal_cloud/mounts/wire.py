from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from local.modal_cloud.records import MountedFile
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class MountsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def MountBatchedCheckExistence(
        self, request: api_pb2.MountBatchedCheckExistenceRequest, caller: Caller
    ) -> api_pb2.MountBatchedCheckExistenceResponse:
        missing = [sha256 for sha256 in request.sha256_hex_hashes if not self._cloud.mounts.exists(sha256)]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing, checked_at=_now())

    async def MountPutFile(self, request: api_pb2.MountPutFileRequest, caller: Caller) -> api_pb2.MountPutFileResponse:
        mounts = self._cloud.mounts
        which = request.WhichOneof("data_oneof")
        if which is not None and not mounts.exists(request.sha256_hex):
            data = request.data if which == "data" else self._cloud.blobs.file(request.data_blob_id)
            await asyncio.to_thread(mounts.put, request.sha256_hex, data)
        return api_pb2.MountPutFileResponse(exists=mounts.exists(request.sha256_hex), checked_at=_now())

    async def MountGetOrCreate(
        self, request: api_pb2.MountGetOrCreateRequest, caller: Caller
    ) -> api_pb2.MountGetOrCreateResponse:
        if request.deployment_name and not request.files:
            mount = self._cloud.mounts.named(request.deployment_name)
        else:
            files = [MountedFile(file.filename, file.sha256_hex, file.mode) for file in request.files]
            mount = self._cloud.mounts.of_files(files)
        return api_pb2.MountGetOrCreateResponse(
            mount_id=mount.id,
            handle_metadata=api_pb2.MountHandleMetadata(content_checksum_sha256_hex=mount.checksum),
        )


def _now() -> Timestamp:
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp
