from __future__ import annotations

from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.errors import Invalid, NotFound
from local.modal_cloud.functions.handles import precreated_handle
from local.modal_cloud.naming import CREATED_BY
from local.modal_cloud.records import App
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class FunctionsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def FunctionPrecreate(
        self, request: api_pb2.FunctionPrecreateRequest, caller: Caller
    ) -> api_pb2.FunctionPrecreateResponse:
        handle = precreated_handle(
            request.function_name,
            request.function_type,
            request.webhook_config,
            request.method_definitions,
            request.function_schema if request.HasField("function_schema") else None,
            request.supported_input_formats,
            request.supported_output_formats,
            lambda name, method: self._cloud.ingress.url_for(request.app_id, name, method),
        )
        function = self._cloud.functions.precreate(request.app_id, request.existing_function_id, handle)
        return api_pb2.FunctionPrecreateResponse(
            function_id=function.id, handle_metadata=self._cloud.functions.handle(function)
        )

    async def FunctionCreate(
        self, request: api_pb2.FunctionCreateRequest, caller: Caller
    ) -> api_pb2.FunctionCreateResponse:
        data = request.function_data if request.HasField("function_data") else None
        if data is not None and not data.ranked_functions:
            raise Invalid("function_data holds no function")
        chosen = data.ranked_functions[0].function if data is not None else request.function
        for choice in (
            data.ranked_functions if data is not None else [api_pb2.FunctionData.RankedFunction(function=chosen)]
        ):
            _refuse_what_gpus_cannot_have(choice.function)
            _refuse_what_is_not_here(choice.function)
        record, definition = self._cloud.functions.create(request.app_id, request.existing_function_id, chosen, data)
        handle = self._cloud.functions.handle(record)
        handle.definition_id = definition.id
        return api_pb2.FunctionCreateResponse(
            function_id=record.id, function=definition.function, handle_metadata=handle, function_data=definition.data
        )

    async def FunctionGet(self, request: api_pb2.FunctionGetRequest, caller: Caller) -> api_pb2.FunctionGetResponse:
        app = self._app(request.app_name, request.environment_name, request.app_version, caller)
        function = self._cloud.functions.named(app, request.object_tag)
        return api_pb2.FunctionGetResponse(
            function_id=function.id,
            handle_metadata=self._cloud.functions.handle(function),
            function=self._cloud.functions.definition_of(function.id).data,
        )

    async def FunctionGetById(
        self, request: api_pb2.FunctionGetByIdRequest, caller: Caller
    ) -> api_pb2.FunctionGetByIdResponse:
        function = self._cloud.functions.get(request.function_id)
        return api_pb2.FunctionGetByIdResponse(
            handle_metadata=self._cloud.functions.handle(function),
            function=self._cloud.functions.definition_of(function.id).data,
        )

    async def FunctionBindParams(
        self, request: api_pb2.FunctionBindParamsRequest, caller: Caller
    ) -> api_pb2.FunctionBindParamsResponse:
        if request.function_options.cloud_bucket_mounts:
            raise Invalid(_NO_BUCKETS)
        function = self._cloud.functions.bind(request.function_id, request.serialized_params, request.function_options)
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=function.id, handle_metadata=self._cloud.functions.handle(function)
        )

    async def FunctionListVariants(
        self, request: api_pb2.FunctionListVariantsRequest, caller: Caller
    ) -> api_pb2.FunctionListVariantsResponse:
        found = self._cloud.functions.variants(request.function_id)
        found.sort(key=lambda function: len(self._cloud.tasks.of_function(function.id)), reverse=True)
        return api_pb2.FunctionListVariantsResponse(
            infos=[
                api_pb2.FunctionVariantInfo(
                    function_id=function.id,
                    serialized_params=function.parameters,
                    function_options=function.options if function.options.ByteSize() else None,
                )
                for function in (found[: request.limit] if request.limit else found)
            ],
            ordered_by_task_count=True,
        )

    async def ClassCreate(self, request: api_pb2.ClassCreateRequest, caller: Caller) -> api_pb2.ClassCreateResponse:
        record = self._cloud.functions.create_class(request.app_id, request.existing_class_id)
        return api_pb2.ClassCreateResponse(class_id=record.id, handle_metadata=record.handle)

    async def ClassGet(self, request: api_pb2.ClassGetRequest, caller: Caller) -> api_pb2.ClassGetResponse:
        app = self._app(request.app_name, request.environment_name, request.app_version, caller)
        record = self._cloud.functions.class_named(app, request.object_tag)
        return api_pb2.ClassGetResponse(class_id=record.id, handle_metadata=record.handle)

    async def FunctionUpdateSchedulingParams(
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest, caller: Caller
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        settings = self._cloud.functions.override_settings(request.function_id, request.settings)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=settings)

    async def FunctionGetSchedulingParams(
        self, request: api_pb2.FunctionGetSchedulingParamsRequest, caller: Caller
    ) -> api_pb2.FunctionGetSchedulingParamsResponse:
        function = self._cloud.functions.get(request.function_id)
        events = {}
        for field, _ in function.autoscaler_override.ListFields():
            events[field.name] = api_pb2.UserActionInfo(
                user_id=CREATED_BY, timestamp=function.overridden_at or 0, requested_by=CREATED_BY
            )
        return api_pb2.FunctionGetSchedulingParamsResponse(
            autoscaler_configuration=api_pb2.AutoscalerConfiguration(
                settings=self._cloud.functions.settings(function.id),
                static_settings=self._cloud.functions.static_settings(function.id),
                override_settings=function.autoscaler_override,
                override_events=events,
            )
        )

    async def FunctionGetCurrentStats(
        self, request: api_pb2.FunctionGetCurrentStatsRequest, caller: Caller
    ) -> api_pb2.FunctionStats:
        return api_pb2.FunctionStats(
            backlog=self._cloud.calls.queued(request.function_id),
            num_running_inputs=self._cloud.calls.running(request.function_id),
            # Those that wait for a GPU are no runners yet.
            num_total_tasks=sum(task.pid is not None for task in self._cloud.tasks.of_function(request.function_id)),
        )

    def _app(self, name: str, environment_name: str, version: int, caller: Caller) -> App:
        app = self._cloud.apps.require_deployed(self._cloud.environment_of(environment_name, caller), name)
        if version and version != app.live_version:
            raise NotFound(f"App '{name}' v{version} is not live, and the local cloud serves the live version only")
        return app


_NO_BUCKETS = "CloudBucketMount is not supported by the local cloud; use a modal.Volume"


def _refuse_what_is_not_here(function: api_pb2.Function) -> None:
    if function.cloud_bucket_mounts:
        raise Invalid(_NO_BUCKETS)
    webhooks = [function.webhook_config, *(method.webhook_config for method in function.method_definitions.values())]
    if any(webhook.custom_domains for webhook in webhooks):
        raise Invalid("custom domains are not supported by the local cloud; the endpoint's URL is get_web_url()")
    if function._experimental_group_size > 1:
        raise Invalid("clusters of containers (modal.experimental.clustered) are not supported by the local cloud")


def _refuse_what_gpus_cannot_have(function: api_pb2.Function) -> None:
    """As Modal does (modal.com/docs/guide/preemption, /memory-snapshots). Its own words are not known in each case."""
    count = function.resources.gpu_config.count
    if count and function.scheduler_placement.nonpreemptible:
        raise Invalid("nonpreemptible is not supported for GPU Functions")
    if count > 1 and function.experimental_options.get("enable_gpu_snapshot", "False") == "True":
        raise Invalid("GPU memory snapshots are not supported for Functions with more than one GPU.")
