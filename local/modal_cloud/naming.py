"""What volumes, secrets and dicts have in common: creation modes and pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from modal_proto import api_pb2

from local.modal_cloud.errors import AlreadyExists, NotFound

R = TypeVar("R")

CREATED_BY = "local"


def must_create(existing: object | None, creation_type: int, noun: str, name: str, environment: str) -> bool:
    """True: make a new one (replacing `existing`); False: `existing` is the answer.

    Raises NotFound for a look-up of something missing, AlreadyExists where it had to be new.
    """
    if creation_type == api_pb2.OBJECT_CREATION_TYPE_UNSPECIFIED and existing is None:
        raise NotFound(f"{noun} '{name}' not found in environment '{environment}'")
    if creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS and existing is not None:
        raise AlreadyExists(f"{noun} '{name}' already exists in environment '{environment}'")
    return existing is None or creation_type == api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS


def is_anonymous(creation_type: int) -> bool:
    return creation_type in (
        api_pb2.OBJECT_CREATION_TYPE_ANONYMOUS_OWNED_BY_APP,
        api_pb2.OBJECT_CREATION_TYPE_EPHEMERAL,
    )


def page(records: Iterable[R], created_at: Callable[[R], float], pagination: api_pb2.ListPagination) -> list[R]:
    """Newest first, older than `created_before` where that is set, at most `max_objects` where that is set."""
    before = pagination.created_before
    newest_first = sorted(records, key=created_at, reverse=True)
    matching = [record for record in newest_first if not before or created_at(record) < before]
    return matching[: pagination.max_objects] if pagination.max_objects > 0 else matching
