"""Property values: plain Python values, `Secret` around what must be encrypted, `UNKNOWN` for what no preview can know.

On the wire they are google.protobuf.Struct; Pulumi marks special values there by a signature key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, struct_pb2

Properties = dict[str, Any]

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(frozen=True)
class Secret:
    value: Any

    def __repr__(self) -> str:
        return "Secret(…)"


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """The value with `leaf` applied to all that is neither a dict nor a list; a Secret is a leaf."""
    if isinstance(value, dict):
        return {key: mapped(item, leaf) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, leaf) for item in value]
    return leaf(value)


def unmarked(value: Any, key: str, open_: Callable[[Any], Any]) -> Any:
    """The value with Secrets in the places of what is marked as one; `open_` makes its content of the mark's `key`."""
    if isinstance(value, dict) and value.get(SIGNATURE) == SECRET_SIGNATURE:
        return Secret(unmarked(open_(value[key]), key, open_))
    if isinstance(value, dict):
        return {name: unmarked(item, key, open_) for name, item in value.items()}
    return [unmarked(item, key, open_) for item in value] if isinstance(value, list) else value


def from_struct(struct: struct_pb2.Struct) -> Properties:
    def native(leaf: Any) -> Any:
        if isinstance(leaf, float) and leaf.is_integer():
            return int(leaf)
        return UNKNOWN if leaf == UNKNOWN_TEXT else leaf

    return unmarked(mapped(json_format.MessageToDict(struct), native), "value", lambda content: content)


def to_struct(properties: Properties, *, secrets: bool) -> struct_pb2.Struct:
    """With `secrets` they stay marked (the program takes them so); without, they are sent as their bare values."""

    def wire(leaf: Any) -> Any:
        if isinstance(leaf, Secret):
            content = mapped(leaf.value, wire)
            return {SIGNATURE: SECRET_SIGNATURE, "value": content} if secrets else content
        return UNKNOWN_TEXT if leaf is UNKNOWN else leaf

    struct = struct_pb2.Struct()
    struct.update(mapped(properties, wire))
    return struct


def secrets_from(values: Properties, pattern: Properties) -> Properties:
    """`values` of a provider that knows no secrets, marked where the same place of `pattern` is secret."""

    def mark(value: Any, like: Any) -> Any:
        if isinstance(like, Secret):
            return value if isinstance(value, Secret) else Secret(value)
        if isinstance(value, dict) and isinstance(like, dict):
            return secrets_from(value, like)
        if isinstance(value, list) and isinstance(like, list):
            return [mark(*pair) for pair in zip(value, like, strict=False)] + value[len(like) :]
        return value

    return {key: mark(value, pattern.get(key)) for key, value in values.items()}


def bare(value: Any) -> Any:
    """The value without any secret marks."""
    return mapped(value, lambda leaf: bare(leaf.value) if isinstance(leaf, Secret) else leaf)


def masked(value: Any) -> Any:
    """The value as JSON that may be shown: no secret, and a text for what is unknown."""
    hidden = {SIGNATURE: SECRET_SIGNATURE, "ciphertext": "[secret]"}
    return mapped(value, lambda v: hidden if isinstance(v, Secret) else UNKNOWN_TEXT if v is UNKNOWN else v)


def has_secret(value: Any) -> bool:
    return bare(value) != value


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Top-level keys that visibly differ, as {key: "add" | "delete" | "update"}, the internal `__…` keys left out."""
    kinds = {}
    for key in sorted({*old, *new}):
        if not key.startswith("__") and masked(old.get(key)) != masked(new.get(key)):
            kinds[key] = "add" if key not in old else "delete" if key not in new else "update"
    return kinds
