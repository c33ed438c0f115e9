from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.naming import CREATED_BY, page
from local.modal_cloud.records import Dict
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class DictsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def DictGetOrCreate(
        self, request: api_pb2.DictGetOrCreateRequest, caller: Caller
    ) -> api_pb2.DictGetOrCreateResponse:
        record = self._cloud.dicts.get_or_create(
            self._cloud.environment_of(request.environment_name, caller),
            request.deployment_name,
            request.object_creation_type,
            [(entry.key, entry.value) for entry in request.data],
        )
        return api_pb2.DictGetOrCreateResponse(dict_id=record.id, metadata=_metadata(record))

    async def DictGetById(self, request: api_pb2.DictGetByIdRequest, caller: Caller) -> api_pb2.DictGetByIdResponse:
        record = self._cloud.dicts.get(request.dict_id)
        return api_pb2.DictGetByIdResponse(dict_id=record.id, metadata=_metadata(record))

    async def DictGet(self, request: api_pb2.DictGetRequest, caller: Caller) -> api_pb2.DictGetResponse:
        value = self._cloud.dicts.value(request.dict_id, request.key)
        return api_pb2.DictGetResponse(found=value is not None, value=value)

    async def DictPop(self, request: api_pb2.DictPopRequest, caller: Caller) -> api_pb2.DictPopResponse:
        value = self._cloud.dicts.pop(request.dict_id, request.key)
        return api_pb2.DictPopResponse(found=value is not None, value=value)

    async def DictContains(self, request: api_pb2.DictContainsRequest, caller: Caller) -> api_pb2.DictContainsResponse:
        return api_pb2.DictContainsResponse(found=self._cloud.dicts.value(request.dict_id, request.key) is not None)

    async def DictUpdate(self, request: api_pb2.DictUpdateRequest, caller: Caller) -> api_pb2.DictUpdateResponse:
        entries = [(entry.key, entry.value) for entry in request.updates]
        created = self._cloud.dicts.update(request.dict_id, entries, request.if_not_exists)
        return api_pb2.DictUpdateResponse(created=created)

    async def DictLen(self, request: api_pb2.DictLenRequest, caller: Caller) -> api_pb2.DictLenResponse:
        return api_pb2.DictLenResponse(len=self._cloud.dicts.length(request.dict_id))

    async def DictContents(
        self, request: api_pb2.DictContentsRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DictEntry]:
        for key, value in self._cloud.dicts.entries(request.dict_id):
            yield api_pb2.DictEntry(key=key if request.keys else b"", value=value if request.values else b"")

    async def DictList(self, request: api_pb2.DictListRequest, caller: Caller) -> api_pb2.DictListResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        records = page(self._cloud.dicts.named(environment), lambda record: record.created_at, request.pagination)
        return api_pb2.DictListResponse(
            environment_name=environment,
            dicts=[
                api_pb2.DictListResponse.DictInfo(
                    name=record.name, created_at=record.created_at, dict_id=record.id, metadata=_metadata(record)
                )
                for record in records
            ],
        )

    async def DictClear(self, request: api_pb2.DictClearRequest, caller: Caller) -> Empty:
        self._cloud.dicts.clear(request.dict_id)
        return Empty()

    async def DictDelete(self, request: api_pb2.DictDeleteRequest, caller: Caller) -> Empty:
        self._cloud.dicts.delete(request.dict_id)
        return Empty()

    async def DictHeartbeat(self, request: api_pb2.DictHeartbeatRequest, caller: Caller) -> Empty:
        self._cloud.dicts.heartbeat(request.dict_id)
        return Empty()


def _metadata(record: Dict) -> api_pb2.DictMetadata:
    return api_pb2.DictMetadata(
        name=record.name,
        creation_info=api_pb2.CreationInfo(created_at=record.created_at, created_by=CREATED_BY),
    )
