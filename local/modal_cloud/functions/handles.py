"""Handle metadata and derived messages of a function, from its definition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.message import Message
from modal_proto import api_pb2

from local.modal_cloud.records import Class

UrlFor = Callable[[str, str], str]
"""(function name, method name or "") → the fixed URL of that web endpoint."""


def function_handle(function: api_pb2.Function, url_for: UrlFor) -> api_pb2.FunctionHandleMetadata:
    handle = precreated_handle(
        function.function_name,
        function.function_type,
        function.webhook_config,
        function.method_definitions,
        function.function_schema if function.HasField("function_schema") else None,
        function.supported_input_formats,
        function.supported_output_formats,
        url_for,
    )
    handle.is_method = function.is_method
    if function.HasField("class_parameter_info"):
        handle.class_parameter_info.CopyFrom(function.class_parameter_info)
    if function.is_server:
        handle._experimental_flash_urls.append(url_for(function.function_name, ""))
    return handle


def precreated_handle(
    name: str,
    function_type: api_pb2.Function.FunctionType.ValueType,
    webhook: api_pb2.WebhookConfig,
    methods: Mapping[str, api_pb2.MethodDefinition],
    schema: api_pb2.FunctionSchema | None,
    inputs: Sequence[api_pb2.DataFormat.ValueType],
    outputs: Sequence[api_pb2.DataFormat.ValueType],
    url_for: UrlFor,
) -> api_pb2.FunctionHandleMetadata:
    """Complete but for what only FunctionCreate tells."""
    return api_pb2.FunctionHandleMetadata(
        function_name=name,
        function_type=function_type,
        web_url=url_for(name, "") if webhook.type != api_pb2.WEBHOOK_TYPE_UNSPECIFIED else "",
        function_schema=schema,
        supported_input_formats=inputs,
        supported_output_formats=outputs,
        method_handle_metadata={
            method_name: api_pb2.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=method_name,
                web_url=url_for(name, method_name)
                if method.webhook_config.type != api_pb2.WEBHOOK_TYPE_UNSPECIFIED
                else "",
                function_schema=method.function_schema if method.HasField("function_schema") else None,
                supported_input_formats=method.supported_input_formats,
                supported_output_formats=method.supported_output_formats,
            )
            for method_name, method in methods.items()
        },
    )


def function_data(function: api_pb2.Function) -> api_pb2.FunctionData:
    """The summary of a single function: all fields that both messages have, and the function as its only choice."""
    data = api_pb2.FunctionData()
    for field, value in function.ListFields():
        if field.name not in data.DESCRIPTOR.fields_by_name:
            continue
        if field.label == field.LABEL_REPEATED:
            if isinstance(value, Message) or hasattr(value, "items"):
                getattr(data, field.name).MergeFrom(value)
            else:
                getattr(data, field.name).extend(value)
        elif isinstance(value, Message):
            getattr(data, field.name).CopyFrom(value)
        else:
            setattr(data, field.name, value)
    data.ranked_functions.add(rank=0).function.CopyFrom(function)
    return data


def class_object(record: Class) -> api_pb2.Object:
    return api_pb2.Object(object_id=record.id, class_handle_metadata=record.handle)
