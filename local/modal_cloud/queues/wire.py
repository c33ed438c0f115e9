from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.naming import CREATED_BY, page
from local.modal_cloud.records import Queue
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class QueuesWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def QueueGetOrCreate(
        self, request: api_pb2.QueueGetOrCreateRequest, caller: Caller
    ) -> api_pb2.QueueGetOrCreateResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        queue = self._cloud.queues.get_or_create(environment, request.deployment_name, request.object_creation_type)
        return api_pb2.QueueGetOrCreateResponse(queue_id=queue.id, metadata=_metadata(queue))

    async def QueueGetById(self, request: api_pb2.QueueGetByIdRequest, caller: Caller) -> api_pb2.QueueGetByIdResponse:
        queue = self._cloud.queues.get(request.queue_id)
        return api_pb2.QueueGetByIdResponse(queue_id=queue.id, metadata=_metadata(queue))

    async def QueuePut(self, request: api_pb2.QueuePutRequest, caller: Caller) -> Empty:
        self._cloud.queues.put(
            request.queue_id, request.partition_key, list(request.values), request.partition_ttl_seconds
        )
        return Empty()

    async def QueueGet(self, request: api_pb2.QueueGetRequest, caller: Caller) -> api_pb2.QueueGetResponse:
        values = await self._cloud.queues.take(
            request.queue_id, request.partition_key, request.n_values or 1, request.timeout
        )
        return api_pb2.QueueGetResponse(values=values)

    async def QueueNextItems(
        self, request: api_pb2.QueueNextItemsRequest, caller: Caller
    ) -> api_pb2.QueueNextItemsResponse:
        after = int(request.last_entry_id or 0)
        items = await self._cloud.queues.after(
            request.queue_id, request.partition_key, after, request.item_poll_timeout
        )
        return api_pb2.QueueNextItemsResponse(
            items=[api_pb2.QueueItem(value=value, entry_id=str(position)) for position, value in items]
        )

    async def QueueLen(self, request: api_pb2.QueueLenRequest, caller: Caller) -> api_pb2.QueueLenResponse:
        partition = None if request.total else request.partition_key
        return api_pb2.QueueLenResponse(len=self._cloud.queues.length(request.queue_id, partition))

    async def QueueClear(self, request: api_pb2.QueueClearRequest, caller: Caller) -> Empty:
        self._cloud.queues.clear(request.queue_id, None if request.all_partitions else request.partition_key)
        return Empty()

    async def QueueList(self, request: api_pb2.QueueListRequest, caller: Caller) -> api_pb2.QueueListResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        queues = page(self._cloud.queues.named(environment), lambda queue: queue.created_at, request.pagination)
        return api_pb2.QueueListResponse(
            environment_name=environment,
            queues=[
                api_pb2.QueueListResponse.QueueInfo(
                    name=queue.name,
                    created_at=queue.created_at,
                    num_partitions=self._cloud.queues.partitions(queue.id),
                    total_size=min(
                        self._cloud.queues.length(queue.id, None), (request.total_size_limit or 1 << 30) + 1
                    ),
                    queue_id=queue.id,
                    metadata=_metadata(queue),
                )
                for queue in queues
            ],
        )

    async def QueueDelete(self, request: api_pb2.QueueDeleteRequest, caller: Caller) -> Empty:
        self._cloud.queues.delete(request.queue_id)
        return Empty()

    async def QueueHeartbeat(self, request: api_pb2.QueueHeartbeatRequest, caller: Caller) -> Empty:
        self._cloud.queues.heartbeat(request.queue_id)
        return Empty()


def _metadata(queue: Queue) -> api_pb2.QueueMetadata:
    return api_pb2.QueueMetadata(
        name=queue.name, creation_info=api_pb2.CreationInfo(created_at=queue.created_at, created_by=CREATED_BY)
    )
