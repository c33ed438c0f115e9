from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.errors import FailedPrecondition, Invalid, NotFound
from local.modal_cloud.naming import CREATED_BY, page
from local.modal_cloud.records import Volume
from local.modal_cloud.rpc import Caller
from local.modal_cloud.seams import OpenFiles
from local.modal_cloud.volumes.uploads import BLOCK_SIZE, UploadedFile

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

LIST_BATCH = 500
T = TypeVar("T")


class VolumesWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # -- the volume itself

    async def VolumeGetOrCreate(
        self, request: api_pb2.VolumeGetOrCreateRequest, caller: Caller
    ) -> api_pb2.VolumeGetOrCreateResponse:
        volume = self._cloud.volumes.get_or_create(
            self._cloud.environment_of(request.environment_name, caller),
            request.deployment_name,
            request.object_creation_type,
            request.version,
        )
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=volume.id, version=_version(volume), metadata=volume_metadata(volume)
        )

    async def VolumeGetById(
        self, request: api_pb2.VolumeGetByIdRequest, caller: Caller
    ) -> api_pb2.VolumeGetByIdResponse:
        volume = self._cloud.volumes.get(request.volume_id)
        return api_pb2.VolumeGetByIdResponse(volume_id=volume.id, metadata=volume_metadata(volume))

    async def VolumeList(self, request: api_pb2.VolumeListRequest, caller: Caller) -> api_pb2.VolumeListResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        volumes = page(self._cloud.volumes.named(environment), lambda volume: volume.created_at, request.pagination)
        return api_pb2.VolumeListResponse(
            environment_name=environment,
            items=[
                api_pb2.VolumeListItem(
                    label=volume.name,
                    volume_id=volume.id,
                    created_at=volume.created_at,
                    metadata=volume_metadata(volume),
                )
                for volume in volumes
            ],
        )

    async def VolumeRename(self, request: api_pb2.VolumeRenameRequest, caller: Caller) -> Empty:
        self._cloud.volumes.rename(request.volume_id, request.name)
        return Empty()

    async def VolumeDelete(self, request: api_pb2.VolumeDeleteRequest, caller: Caller) -> Empty:
        self._cloud.volumes.delete(request.volume_id)
        return Empty()

    async def VolumeHeartbeat(self, request: api_pb2.VolumeHeartbeatRequest, caller: Caller) -> Empty:
        self._cloud.volumes.heartbeat(request.volume_id)
        return Empty()

    # -- from inside containers

    async def VolumeCommit(self, request: api_pb2.VolumeCommitRequest, caller: Caller) -> api_pb2.VolumeCommitResponse:
        task_id = self._mounted(request.volume_id, caller)
        await self._cloud.runtime.views.commit(task_id, request.volume_id)
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest, caller: Caller) -> Empty:
        if caller.task_id is None:
            self._cloud.volumes.get(request.volume_id)
            return Empty()
        task_id = self._mounted(request.volume_id, caller)
        try:
            await self._cloud.runtime.views.reload(task_id, request.volume_id)
        except OpenFiles as error:
            detail = f" ({error})" if str(error) else ""
            raise FailedPrecondition(f"there are open files preventing the operation{detail}") from None
        return Empty()

    def _mounted(self, volume_id: str, caller: Caller) -> str:
        self._cloud.volumes.get(volume_id)
        if caller.task_id is None:
            raise FailedPrecondition(f"Volume {volume_id} can be committed inside a container only")
        function = self._cloud.tasks.definition(caller.task_id).function
        if volume_id not in {mount.volume_id for mount in function.volume_mounts}:
            raise NotFound(f"Volume {volume_id} is not mounted in this container")
        return caller.task_id

    # -- files

    async def VolumeListFiles(
        self, request: api_pb2.VolumeListFilesRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFilesResponse]:
        for batch in await self._list(request):
            yield api_pb2.VolumeListFilesResponse(entries=batch)

    async def VolumeListFiles2(
        self, request: api_pb2.VolumeListFiles2Request, caller: Caller
    ) -> AsyncIterator[api_pb2.VolumeListFiles2Response]:
        for batch in await self._list(request):
            yield api_pb2.VolumeListFiles2Response(entries=batch)

    async def _list(
        self, request: api_pb2.VolumeListFilesRequest | api_pb2.VolumeListFiles2Request
    ) -> list[Sequence[api_pb2.FileEntry]]:
        content = self._cloud.volumes.content(request.volume_id)
        limit = request.max_entries if request.HasField("max_entries") else None
        return _batches(await asyncio.to_thread(content.entries, request.path, request.recursive, limit))

    async def VolumeRemoveFile(self, request: api_pb2.VolumeRemoveFileRequest, caller: Caller) -> Empty:
        content = self._cloud.volumes.content(request.volume_id)
        await asyncio.to_thread(content.remove, request.path, request.recursive)
        return Empty()

    async def VolumeRemoveFile2(self, request: api_pb2.VolumeRemoveFile2Request, caller: Caller) -> Empty:
        content = self._cloud.volumes.content(request.volume_id)
        await asyncio.to_thread(content.remove, request.path, request.recursive)
        return Empty()

    async def VolumeCopyFiles(self, request: api_pb2.VolumeCopyFilesRequest, caller: Caller) -> Empty:
        content = self._cloud.volumes.content(request.volume_id)
        await asyncio.to_thread(content.copy, list(request.src_paths), request.dst_path, request.recursive)
        return Empty()

    async def VolumeCopyFiles2(self, request: api_pb2.VolumeCopyFiles2Request, caller: Caller) -> Empty:
        content = self._cloud.volumes.content(request.volume_id)
        await asyncio.to_thread(content.copy, list(request.src_paths), request.dst_path, request.recursive)
        return Empty()

    async def VolumePutFiles(self, request: api_pb2.VolumePutFilesRequest, caller: Caller) -> Empty:
        content = self._cloud.volumes.content(request.volume_id)
        if request.disallow_overwrite_existing_files:
            content.check_free([file.filename for file in request.files])
        for file in request.files:
            source = self._cloud.mounts.content(file.sha256_hex)
            await asyncio.to_thread(content.put, file.filename, source, file.mode)
        return Empty()

    async def VolumePutFiles2(
        self, request: api_pb2.VolumePutFiles2Request, caller: Caller
    ) -> api_pb2.VolumePutFiles2Response:
        content = self._cloud.volumes.content(request.volume_id)
        files = [
            UploadedFile(file.path, file.size, file.mode, [block.contents_sha256.hex() for block in file.blocks])
            for file in request.files
        ]
        if request.disallow_overwrite_existing_files:
            content.check_free([file.path for file in files])
        missing = self._cloud.uploads.missing(files)
        if missing:
            return api_pb2.VolumePutFiles2Response(
                missing_blocks=[
                    api_pb2.VolumePutFiles2Response.MissingBlock(
                        file_index=file_index, block_index=block_index, put_url=self._cloud.http.block_url(sha256)
                    )
                    for file_index, block_index, sha256 in missing
                ]
            )
        await self._cloud.uploads.assemble(content, files)
        return api_pb2.VolumePutFiles2Response()

    async def VolumeGetFile2(
        self, request: api_pb2.VolumeGetFile2Request, caller: Caller
    ) -> api_pb2.VolumeGetFile2Response:
        file = self._cloud.volumes.content(request.volume_id).existing(request.path)
        if not file.is_file():
            raise Invalid(f"{request.path}: is not a file")
        size = file.stat().st_size
        start = min(request.start, size)
        end = min(start + request.len, size) if request.len else size
        urls = []
        position = start
        while position < end:
            block_end = min(end, (position // BLOCK_SIZE + 1) * BLOCK_SIZE)
            urls.append(self._cloud.http.file_url(request.volume_id, request.path, position, block_end - position))
            position = block_end
        return api_pb2.VolumeGetFile2Response(get_urls=urls, size=size, start=start, len=end - start)


def volume_metadata(volume: Volume) -> api_pb2.VolumeMetadata:
    return api_pb2.VolumeMetadata(
        version=_version(volume),
        name=volume.name,
        creation_info=api_pb2.CreationInfo(created_at=volume.created_at, created_by=CREATED_BY),
    )


def _version(volume: Volume) -> api_pb2.VolumeFsVersion.ValueType:
    return (
        api_pb2.VOLUME_FS_VERSION_V2 if volume.version == api_pb2.VOLUME_FS_VERSION_V2 else api_pb2.VOLUME_FS_VERSION_V1
    )


def _batches(entries: Sequence[T]) -> list[Sequence[T]]:
    return [entries[start : start + LIST_BATCH] for start in range(0, len(entries), LIST_BATCH)]
