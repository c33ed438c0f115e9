"""Calls as their callers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.records import CallKind, Input, InputState
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class CallsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def FunctionMap(self, request: api_pb2.FunctionMapRequest, caller: Caller) -> api_pb2.FunctionMapResponse:
        call = self._cloud.calls.ledger.call_of_request(caller.request_key)
        if call is None:
            call = self._cloud.calls.create(
                request.function_id,
                CallKind.REMOTE,
                request.function_call_invocation_type,
                is_map=request.function_call_type == api_pb2.FUNCTION_CALL_TYPE_MAP,
                parent_input_id=request.parent_input_id,
                request_key=caller.request_key,
            )
            items = self._add(call.id, request.pipelined_inputs)
        else:
            # The answer to the first attempt was lost. Inputs that were not saved then are sent again by the client.
            items = [_accepted(item) for item in self._cloud.calls.ledger.inputs_of(call)]
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            function_call_jwt=call.id,
            pipelined_inputs=items,
            retry_policy=self._cloud.functions.definition_of(request.function_id).function.retry_policy,
            sync_client_retries_enabled=False,
        )

    async def FunctionPutInputs(
        self, request: api_pb2.FunctionPutInputsRequest, caller: Caller
    ) -> api_pb2.FunctionPutInputsResponse:
        return api_pb2.FunctionPutInputsResponse(inputs=self._add(request.function_call_id, request.inputs))

    def _add(
        self, call_id: str, items: Iterable[api_pb2.FunctionPutInputsItem]
    ) -> list[api_pb2.FunctionPutInputsResponseItem]:
        added = self._cloud.calls.add_inputs(
            self._cloud.calls.ledger.call(call_id), [(item.idx, item.input) for item in items]
        )
        return [_accepted(item) for item in added]

    async def FunctionFinishInputs(self, request: api_pb2.FunctionFinishInputsRequest, caller: Caller) -> Empty:
        call = self._cloud.calls.ledger.call(request.function_call_id)
        call.expected_inputs = request.num_inputs
        self._cloud.calls.ledger.save(call)
        return Empty()

    async def FunctionGetOutputs(
        self, request: api_pb2.FunctionGetOutputsRequest, caller: Caller
    ) -> api_pb2.FunctionGetOutputsResponse:
        calls = self._cloud.calls
        call = calls.ledger.call(request.function_call_id)
        first = request.start_idx if request.HasField("start_idx") else None
        last = request.end_idx if request.HasField("end_idx") else None

        def wanted(item: Input) -> bool:
            return (first is None or item.idx >= first) and (last is None or item.idx <= last)

        after = int(request.last_entry_id.partition("-")[0] or 0)
        items, position = await calls.results.wait(call, after, wanted, request.max_values, request.timeout)
        if items and request.clear_on_success:
            calls.delivered(call)
        return api_pb2.FunctionGetOutputsResponse(
            idxs=[item.idx for item in items],
            outputs=[_output(item) for item in items],
            last_entry_id=f"{position}-0",
            num_unfinished_inputs=calls.results.unfinished(call),
        )

    async def FunctionCallFromId(
        self, request: api_pb2.FunctionCallFromIdRequest, caller: Caller
    ) -> api_pb2.FunctionCallFromIdResponse:
        call = self._cloud.calls.ledger.call(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.id,
            num_inputs=max(len(call.input_ids), call.expected_inputs or 0),
            metadata=api_pb2.FunctionCallHandleMetadata(app_id=call.app_id, function_id=call.function_id),
        )

    async def FunctionCallGetInfo(
        self, request: api_pb2.FunctionCallGetInfoRequest, caller: Caller
    ) -> api_pb2.FunctionCallGetInfoResponse:
        call = self._cloud.calls.ledger.call(request.function_call_id)
        counts: dict[str, int] = {}
        for item in self._cloud.calls.ledger.inputs_of(call):
            counts[_category(item)] = counts.get(_category(item), 0) + 1
        info = api_pb2.FunctionCallInfo(
            function_call_id=call.id,
            created_at=call.created_at,
            scheduled_at=call.created_at,
            total_inputs=len(call.input_ids),
            **{f"{category}_inputs": api_pb2.InputCategoryInfo(total=count) for category, count in counts.items()},
        )
        return api_pb2.FunctionCallGetInfoResponse(info=info)

    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest, caller: Caller) -> Empty:
        call = self._cloud.calls.ledger.call(request.function_call_id)
        self._cloud.calls.cancel(call, request.terminate_containers)
        return Empty()

    async def FunctionCallGetDataOut(
        self, request: api_pb2.FunctionCallGetDataRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.DataChunk]:
        streams = self._cloud.calls.streams(request.function_call_id)
        async for chunk in streams.data_out.after(request.last_index):
            yield chunk


def _accepted(item: Input) -> api_pb2.FunctionPutInputsResponseItem:
    return api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=item.id, input_jwt=item.id)


def _output(item: Input) -> api_pb2.FunctionGetOutputsItem:
    return api_pb2.FunctionGetOutputsItem(
        result=item.result,
        idx=item.idx,
        input_id=item.id,
        data_format=api_pb2.DataFormat.ValueType(item.result_format),
        task_id=item.task_id or "",
        input_started_at=item.started_at or 0,
        output_created_at=item.ended_at or 0,
        retry_count=item.tries,
    )


def _category(item: Input) -> str:
    """Prefix of the field of FunctionCallInfo that counts it."""
    if item.state is not InputState.DONE or item.result is None:
        return "pending"
    return {
        api_pb2.GenericResult.GENERIC_STATUS_SUCCESS: "succeeded",
        api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT: "timeout",
        api_pb2.GenericResult.GENERIC_STATUS_TERMINATED: "cancelled",
    }.get(item.result.status, "failed")
