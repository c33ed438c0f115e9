"""A stack's state: what the CLI's checkpoint file (version 3) holds, in memory and as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from local.pulumi_engine import Problem
from local.pulumi_engine.properties import SECRET_SIGNATURE, SIGNATURE, Properties, Secret, mapped, unmarked
from local.pulumi_engine.secrets import Crypter, crypter

VERSION = "v3.260.0+bundled"
"""The CLI release whose behaviour and files are followed."""
STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_TYPE = "pulumi:providers:pulumi-python"


@dataclass(eq=False)
class State:
    """One resource. Names are the checkpoint's, so that reading and writing need no table."""

    urn: str
    custom: bool
    type: str
    delete: bool = False
    id: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    parent: str = ""
    protect: bool = False
    dependencies: list[str] = field(default_factory=list)
    provider: str = ""
    propertyDependencies: dict[str, list[str]] = field(default_factory=dict)
    pendingReplacement: bool = False
    additionalSecretOutputs: list[str] = field(default_factory=list)
    retainOnDelete: bool = False
    created: str = ""
    modified: str = ""
    ignoreChanges: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[1]

    @property
    def is_provider(self) -> bool:
        return self.type.startswith("pulumi:providers:")

    def change_references(self, change: Callable[[str], str]) -> None:
        """Gives other URNs to what this depends on; an empty one drops it."""
        self.parent = change(self.parent) if self.parent else ""
        self.dependencies = [new for urn in self.dependencies if (new := change(urn))]
        on = {key: [new for urn in urns if (new := change(urn))] for key, urns in self.propertyDependencies.items()}
        self.propertyDependencies = on

    def depends_on(self) -> set[str]:
        """URNs of everything that must exist as long as this does."""
        urns = {*self.dependencies, self.parent, self.provider.rsplit("::", 1)[0]}
        return urns.union(*self.propertyDependencies.values()) - {""}


@dataclass(eq=False)
class PendingOperation:
    """An operation that had begun and not ended when the state was written."""

    resource: State
    type: str
    """creating, updating, deleting or reading."""


@dataclass(eq=False)
class Snapshot:
    resources: list[State] = field(default_factory=list)
    pending: list[PendingOperation] = field(default_factory=list)
    salt: str = ""

    def stack(self) -> State | None:
        return next((state for state in self.resources if state.type == STACK_TYPE), None)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(document: dict[str, Any]) -> Snapshot:
    """The snapshot of a checkpoint file's JSON. Raises Problem for what this engine cannot carry on."""
    latest = document.get("checkpoint", {}).get("latest") or {}
    provider = latest.get("secrets_providers") or {}
    if provider and provider.get("type") != "passphrase":
        raise Problem(f"the stack's secrets provider is {provider.get('type')}; install the Pulumi CLI for it")
    salt = provider.get("state", {}).get("salt", "")

    def state(entry: dict[str, Any]) -> State:
        known = {item.name for item in fields(State)}
        values = {key: value for key, value in entry.items() if key in known}
        for side in ("inputs", "outputs"):
            values[side] = unmarked(entry.get(side) or {}, "ciphertext", lambda c: json.loads(crypter(salt).decrypt(c)))
        if entry.get("external"):
            raise Problem(f"{entry['urn']} was read, not created; install the Pulumi CLI for such a stack")
        return State(**values)

    return Snapshot(
        [state(entry) for entry in latest.get("resources") or []],
        [PendingOperation(state(entry["resource"]), entry["type"]) for entry in latest.get("pending_operations") or []],
        salt,
    )


def write(stack: str, snapshot: Snapshot | None) -> dict[str, Any]:
    """The checkpoint file's JSON for a stack's full name (`organization/<project>/<stack>`)."""
    if snapshot is None:
        return {"version": 3, "checkpoint": {"stack": stack}}
    cipher = crypter(snapshot.salt)
    latest: dict[str, Any] = {
        "manifest": {"time": now(), "magic": hashlib.sha256(VERSION.encode()).hexdigest(), "version": VERSION},
        "secrets_providers": {"type": "passphrase", "state": {"salt": snapshot.salt}},
        "resources": [_entry(state, cipher) for state in snapshot.resources],
        "pending_operations": [
            {"resource": _entry(operation.resource, cipher), "type": operation.type} for operation in snapshot.pending
        ],
        "metadata": {},
    }
    return {"version": 3, "checkpoint": {"stack": stack, "latest": {key: v for key, v in latest.items() if v != []}}}


def _entry(state: State, cipher: Crypter) -> dict[str, Any]:
    entry = {item.name: getattr(state, item.name) for item in fields(State)}
    entry = {key: value for key, value in entry.items() if key == "custom" or value not in (False, "", [], {})}
    for side in ("inputs", "outputs"):
        if side in entry:
            entry[side] = _encrypted(entry[side], cipher)
    return entry


def _encrypted(value: Any, cipher: Crypter) -> Any:
    def seal(leaf: Any) -> Any:
        if not isinstance(leaf, Secret):
            return leaf
        text = json.dumps(_encrypted(leaf.value, cipher), ensure_ascii=False, separators=(",", ":"))
        return {SIGNATURE: SECRET_SIGNATURE, "ciphertext": cipher.encrypt(text)}

    return mapped(value, seal)


def deletion_waves(states: list[State]) -> Iterator[list[State]]:
    """The resources in groups to delete one after the other: nothing that is left depends on a group's members."""
    left = list(states)
    while left:
        needed = set().union(*(state.depends_on() for state in left))
        # An original shares its URN with its replacement, and only other originals can still depend on it.
        needed_originals = set().union(*(state.depends_on() for state in left if state.delete))
        wave = [state for state in left if state.urn not in (needed_originals if state.delete else needed)] or left
        yield wave
        left = [state for state in left if state not in wave]
