"""Records to bytes and back, by their type hints.

CBOR of plain values; protobuf messages as their serialized bytes, enums as their value, dataclasses as maps of field
names. Fields added later get their defaults when older records are read; fields that are gone are dropped.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import cbor2
from google.protobuf.message import Message

T = TypeVar("T")


def encode(record: Any) -> bytes:
    return cbor2.dumps(_plain(record))


def decode(record_type: type[T], body: bytes) -> T:
    return _typed(record_type, cbor2.loads(body))


@cache
def _fields(record_type: type) -> dict[str, Any]:
    hints = typing.get_type_hints(record_type)
    return {field.name: hints[field.name] for field in dataclasses.fields(record_type)}


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.SerializeToString()
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _typed(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _typed(typing.get_args(hint)[0], value)
    if origin is list:
        (item,) = typing.get_args(hint)
        return [_typed(item, element) for element in value]
    if origin is dict:
        _, item = typing.get_args(hint)
        return {key: _typed(item, element) for key, element in value.items()}
    if isinstance(hint, type):
        if issubclass(hint, Message):
            message = hint()
            message.ParseFromString(value)
            return message
        if issubclass(hint, Enum):
            return hint(value)
        if dataclasses.is_dataclass(hint):
            known = _fields(hint)
            return hint(**{name: _typed(known[name], item) for name, item in value.items() if name in known})
    return value
