"""Who may change and delete what: resources are taken over by name, so a name may be another stack's, or have got a
newer owner since.

Volumes and folders carry their owner in a file, apps in tags, secrets in the names of marker keys (Modal never gives
a secret's values back). What carries no mark was made by hand or by a script and is anybody's to take over; volumes and
secrets of that kind outlive the stack. A stack is known by organization/project/stack: with state in a file or a bucket
the organization is always the same, so two people's stacks of one name count as one.

Pulumi deletes what was replaced at the end of an update, also when that update failed and a later one has created the
same thing again: without an owner, putting a change back would delete the kernels that serve.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable

from components import modal_api
from components.dynamic import DeploymentError

OWNER = ".owner"
_ADOPTED = " adopted"
OWNED = "GLM_SERVING_OWNED"
"""Key of every secret that some stack has made."""
_MADE = "GLM_SERVING_MADE_"


def new_token() -> str:
    return uuid.uuid4().hex


def take(environment: str, volume: str, folder: str = "") -> str:
    """Makes the caller the owner of a folder; returns the token that proves it."""
    owner = new_token()
    modal_api.write_volume_file(environment, volume, _path(folder), owner.encode())
    return owner


def made_by_a_stack(environment: str, volume: str) -> bool:
    """False for a volume that was there before the stack that owns it, too: put back after a change it still was."""
    content = _owner(environment, volume)
    return bool(content) and not content.endswith(_ADOPTED)


def take_volume(environment: str, volume: str, stack: str, *, adopted: bool, mine: str | None = None) -> str:
    """The same for a whole volume. Raises DeploymentError where it is another stack's and `mine` is no proof of it."""
    token, _, owner = _owner(environment, volume).removesuffix(_ADOPTED).partition(" ")
    if owner not in ("", stack) and token != mine:
        raise DeploymentError(
            f"volume {volume} belongs to the stack {owner}; give this stack's recipe a volume name of its own, or, if "
            f"that stack is gone, `modal volume rm {volume} {OWNER} --env {environment}`, then `pulumi up` again"
        )
    token = new_token()
    modal_api.write_volume_file(environment, volume, OWNER, f"{token} {stack}{_ADOPTED if adopted else ''}".encode())
    return token


def give_up_volume(token: str, environment: str, volume: str) -> None:
    """Leaves a volume that stays for whoever takes it over next."""
    if not taken_from(token, environment, volume):
        modal_api.delete_volume_folder(environment, volume, OWNER)


def taken_from(token: str, environment: str, volume: str, folder: str = "") -> bool:
    """Whether somebody else has taken it since `token` was given out."""
    return _owner(environment, volume, folder).partition(" ")[0] not in ("", token)


def refuse_foreign_app(environment: str, name: str, stack: str) -> bool:
    """Whether an app of that name is there that no stack has made. Raises DeploymentError where another stack has."""
    from serving.apps.owner import STACK_TAG, tag_of

    tags = modal_api.app_tags(environment, name)
    if tags is None or tags.get(STACK_TAG) == tag_of(stack):
        return False
    if owner := tags.get(STACK_TAG):
        raise DeploymentError(
            f"app {name} belongs to the stack {owner}; give this stack's recipe an app name of its own, or, if that "
            f"stack is gone, `modal app stop {name} --env {environment}`, then `pulumi up` again"
        )
    return True


def app_taken_from(token: str, environment: str, name: str) -> bool:
    """Whether another resource has deployed the app since the one with that token did."""
    from serving.apps.owner import OWNER_TAG

    return (modal_api.app_tags(environment, name) or {}).get(OWNER_TAG, token) != token


def secret_mark(stack: str) -> str:
    """Key that marks a secret as this stack's."""
    return f"GLM_SERVING_OWNER_{hashlib.sha256(stack.encode()).hexdigest()[:12].upper()}"


def made_mark() -> str:
    """Key that marks a secret as made by one resource, now: the last one made is the owner of the secret."""
    return f"{_MADE}{time.time_ns() // 1000}"


def last_made(keys: Iterable[str]) -> str:
    """The last of these marks among a secret's keys; empty for one that has none."""
    return max((key for key in keys if key.startswith(_MADE)), default="")


def _owner(environment: str, volume: str, folder: str = "") -> str:
    content = modal_api.read_volume_file(environment, volume, _path(folder))
    return "" if content is None else content.decode(errors="replace")


def _path(folder: str) -> str:
    return f"{folder}/{OWNER}" if folder else OWNER
