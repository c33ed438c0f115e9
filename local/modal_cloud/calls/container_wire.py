"""Calls as the containers that run them see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.records import Input
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

INPUT_POLL = 30.0
"""Seconds that FunctionGetInputs waits for an input before it says that there is none."""


class ContainerCallsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def FunctionGetInputs(
        self, request: api_pb2.FunctionGetInputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetInputsResponse:
        task_id = caller.task()
        if self._cloud.tasks.get(task_id).ready_at is None:
            self._cloud.tasks.ready(task_id)
            self._cloud.scheduler.container_ready(task_id)
        items = await self._cloud.calls.take_batch(
            task_id, INPUT_POLL, max(1, request.batch_max_size), request.batch_linger_ms / 1000, caller.request_key
        )
        if not items:
            drained = self._cloud.calls.drained(task_id)
            return api_pb2.FunctionGetInputsResponse(
                inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)] if drained else []
            )
        return api_pb2.FunctionGetInputsResponse(inputs=[self._item(item) for item in items])

    def _item(self, item: Input) -> api_pb2.FunctionGetInputsItem:
        call = self._cloud.calls.ledger.call(item.call_id)
        return api_pb2.FunctionGetInputsItem(
            input_id=item.id,
            input=item.payload,
            function_call_id=item.call_id,
            function_call_invocation_type=api_pb2.FunctionCallInvocationType.ValueType(call.invocation),
            retry_count=item.tries,
            function_map_idx=item.idx,
        )

    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest, caller: Caller) -> Empty:
        for output in request.outputs:
            self._cloud.calls.put_output(
                caller.task(), output.input_id, output.result, output.data_format, output.retry_count
            )
        return Empty()

    async def FunctionCallGetDataIn(
        self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        streams = self._cloud.calls.streams(request.function_call_id)
        async for chunk in streams.data_in.after(request.last_index):
            yield chunk

    async def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest, caller: Caller) -> Empty:
        stream = self._cloud.calls.streams(request.function_call_id).data_out
        for chunk in request.data_chunks:
            stream.append(chunk)
        await stream.room()
        return Empty()

    async def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest, caller: Caller
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        """The target, and beyond it up to the maximum while inputs wait."""
        waiting = self._cloud.calls.queued(request.function_id) > 0
        return api_pb2.FunctionGetDynamicConcurrencyResponse(
            concurrency=request.max_concurrency if waiting else request.target_concurrency
        )
