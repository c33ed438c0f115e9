"""Variants of a function: a class with parameters, or a function or class `.with_options(…)`.

Each combination of parameters and options is a function of its own, with its own containers and autoscaler settings. It
follows the function that it was made of: a deploy changes its definition, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from google.protobuf.message import DecodeError
from modal_proto import api_pb2

from local.modal_cloud.errors import Invalid
from local.modal_cloud.functions.handles import function_data
from local.modal_cloud.records import Function, FunctionDefinition

_LARGEST = 16 * 1024
"""Bytes of parameters, as on Modal (modal.com/docs/guide/parametrized-functions)."""


def variant_id(base_id: str, parameters: bytes, options: api_pb2.FunctionOptions) -> str:
    """The same for the same parameters (in any order) and options. Raises Invalid for too many parameters."""
    if len(parameters) > _LARGEST:
        raise Invalid(f"class parameters of {len(parameters)} bytes exceed {_LARGEST} bytes")
    key = b"\0".join([base_id.encode(), _in_order(parameters), options.SerializeToString(deterministic=True)])
    return "fu-" + hashlib.sha256(key).hexdigest()[:22]


def variant_definition(base: FunctionDefinition, variant: Function) -> FunctionDefinition:
    """The base's definition with the variant's options over it, under the same id: it is the same version."""
    function = api_pb2.Function()
    function.CopyFrom(base.function)
    _apply(variant.options, function)
    if variant.options.resources.gpu_config.count or len(base.data.ranked_functions) < 2:
        data = function_data(function)
    else:  # the base's list of GPUs
        data = api_pb2.FunctionData()
        data.CopyFrom(base.data)
        for choice in data.ranked_functions:
            _apply(variant.options, choice.function)
    return FunctionDefinition(id=base.id, function=function, data=data, created_at=base.created_at)


def parameters_of_query(
    schema: list[api_pb2.ClassParameterSpec], query: Mapping[str, str]
) -> tuple[bytes | None, list[str]]:
    """The parameters of a class whose web endpoint is asked: they are the query's. Returns them serialized, or None and
    what is wrong with them."""
    values, wrong = [], []
    for spec in schema:
        kind = spec.full_type.base_type or spec.type
        value = api_pb2.ClassParameterValue(name=spec.name, type=kind)
        given = query.get(spec.name)
        if given is None and not spec.has_default:
            wrong.append(f"{spec.name} is missing")
        elif kind == api_pb2.PARAM_TYPE_STRING:
            value.string_value = spec.string_default if given is None else given
        elif kind == api_pb2.PARAM_TYPE_INT:
            if given is not None and not given.removeprefix("-").isdecimal():
                wrong.append(f"{spec.name}={given} is no number")
                continue
            value.int_value = spec.int_default if given is None else int(given)
        elif kind == api_pb2.PARAM_TYPE_BOOL:
            if given is not None and given.lower() not in _BOOLEANS:
                wrong.append(f"{spec.name}={given} is neither true nor false")
                continue
            value.bool_value = spec.bool_default if given is None else _BOOLEANS[given.lower()]
        elif kind == api_pb2.PARAM_TYPE_BYTES:
            value.bytes_value = spec.bytes_default if given is None else given.encode()
        else:
            wrong.append(f"{spec.name} is of a type that a query cannot carry")
        values.append(value)
    if wrong:
        return None, wrong
    return api_pb2.ClassParameterSet(parameters=values).SerializeToString(deterministic=True), []


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _in_order(parameters: bytes) -> bytes:
    """By name. What is no set of parameters (pickled arguments of classes without any) stays as it is."""
    known = api_pb2.ClassParameterSet()
    try:
        known.ParseFromString(parameters)
    except DecodeError:
        return parameters
    return api_pb2.ClassParameterSet(
        parameters=sorted(known.parameters, key=lambda value: value.name)
    ).SerializeToString(deterministic=True)


def _apply(options: api_pb2.FunctionOptions, function: api_pb2.Function) -> None:
    if options.replace_secret_ids:
        del function.secret_ids[:]
    function.secret_ids.extend(options.secret_ids)
    if options.replace_volume_mounts:
        del function.volume_mounts[:]
    function.volume_mounts.extend(options.volume_mounts)
    if options.HasField("resources"):
        if options.resources.gpu_config.count:
            function.resources.ClearField("gpu_config")
        function.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        function.retry_policy.CopyFrom(options.retry_policy)
    if options.HasField("scheduler_placement"):
        function.scheduler_placement.CopyFrom(options.scheduler_placement)
    for name in (
        *("timeout_secs", "target_concurrent_inputs", "max_concurrent_inputs"),
        *("batch_max_size", "batch_linger_ms", "cloud_provider_str", "routing_region"),
    ):
        if options.HasField(name):
            setattr(function, name, getattr(options, name))
    scaling = function.autoscaler_settings
    if options.HasField("concurrency_limit"):
        scaling.max_containers = options.concurrency_limit
    if options.HasField("buffer_containers"):
        scaling.buffer_containers = options.buffer_containers
    if options.HasField("task_idle_timeout_secs"):
        scaling.scaledown_window = options.task_idle_timeout_secs
