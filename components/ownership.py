"""Who may delete what: resources are taken over by name, so a name may have got a newer owner since.

Pulumi deletes what was replaced at the end of an update, also when that update failed and a later one has created the
same thing again: without an owner, putting a change back would delete the kernels that serve.
"""

from __future__ import annotations

import uuid

from components import modal_api

OWNER = ".owner"


def take(environment: str, volume: str, folder: str = "") -> str:
    """Makes the caller the owner of a folder, or of the whole volume; returns the token that proves it."""
    owner = uuid.uuid4().hex
    modal_api.write_volume_file(environment, volume, _path(folder), owner.encode())
    return owner


def taken_from(owner: str, environment: str, volume: str, folder: str = "") -> bool:
    """Whether somebody else has taken it since `owner` did."""
    content = modal_api.read_volume_file(environment, volume, _path(folder))
    return content is not None and content.decode(errors="replace") != owner


def _path(folder: str) -> str:
    return f"{folder}/{OWNER}" if folder else OWNER
