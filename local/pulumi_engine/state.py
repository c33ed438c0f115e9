"""A stack's state, and the folder it is kept in: the CLI's checkpoint (version 3) and its file backend.

.pulumi/meta.yaml                                     version of the layout
.pulumi/stacks/<project>/<stack>.json                 the state
.pulumi/history/<project>/<stack>/<stack>-<ns>.*      one pair of files for each update
.pulumi/locks/organization/<project>/<stack>/*.json   one file while an update runs
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local.pulumi_engine import Problem
from local.pulumi_engine.values import Crypter, Properties, crypter

VERSION = "v3.205.0+bundled"
"""The CLI release whose files and verbs are followed; of a later one the Automation API wants events by gRPC."""
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
        return self.type == PROVIDER_TYPE

    def change_references(self, change: Callable[[str], str]) -> None:
        """Gives other URNs to what this depends on; an empty one drops it."""
        self.parent = change(self.parent) if self.parent else ""
        self.dependencies = [new for urn in self.dependencies if (new := change(urn))]
        for key, urns in self.propertyDependencies.items():
            self.propertyDependencies[key] = [new for urn in urns if (new := change(urn))]

    def depends_on(self) -> set[str]:
        """URNs of everything that must exist as long as this does."""
        urns = {*self.dependencies, self.parent, self.provider.rsplit("::", 1)[0]}
        return urns.union(*self.propertyDependencies.values()) - {""}

    def to_json(self, cipher: Crypter) -> dict[str, Any]:
        entry = {key: v for key, v in vars(self).items() if key == "custom" or v not in (False, "", [], {})}
        return entry | {side: cipher.seal(entry[side]) for side in ("inputs", "outputs") if side in entry}

    @classmethod
    def from_json(cls, entry: dict[str, Any], cipher: Crypter) -> State:
        if entry.get("external"):
            raise Problem(f"{entry['urn']} was read, not created; install the Pulumi CLI for such a stack")
        values = {item.name: entry[item.name] for item in fields(cls) if item.name in entry}
        return cls(**values | {side: cipher.unseal(entry.get(side) or {}) for side in ("inputs", "outputs")})


@dataclass(eq=False)
class Snapshot:
    resources: list[State] = field(default_factory=list)
    pending: list[tuple[str, State]] = field(default_factory=list)
    """What had begun and not ended when this was written: creating, updating or deleting, and the resource."""
    salt: str = ""

    @property
    def stack(self) -> State | None:
        return next((state for state in self.resources if state.type == STACK_TYPE), None)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Snapshot:
        """Raises Problem for what this engine cannot carry on."""
        latest = document["checkpoint"].get("latest") or {}
        provider = latest.get("secrets_providers") or {"type": "passphrase"}
        if provider["type"] != "passphrase":
            raise Problem(f"the stack's secrets provider is {provider['type']}; install the Pulumi CLI for it")
        salt = provider.get("state", {}).get("salt", "")
        cipher = crypter(salt)
        pending = latest.get("pending_operations") or []
        return cls(
            [State.from_json(entry, cipher) for entry in latest.get("resources") or []],
            [(entry["type"], State.from_json(entry["resource"], cipher)) for entry in pending],
            salt,
        )

    def to_json(self, stack: str) -> dict[str, Any]:
        cipher = crypter(self.salt)
        latest: dict[str, Any] = {
            "manifest": {"time": now(), "magic": hashlib.sha256(VERSION.encode()).hexdigest(), "version": VERSION},
            "secrets_providers": {"type": "passphrase", "state": {"salt": self.salt}},
            "resources": [state.to_json(cipher) for state in self.resources],
            "pending_operations": [{"resource": s.to_json(cipher), "type": type_} for type_, s in self.pending],
            "metadata": {},
        }
        return {"version": 3, "checkpoint": {"stack": stack, "latest": {k: v for k, v in latest.items() if v != []}}}


class Backend:
    """The states of one project's stacks."""

    def __init__(self, project: str) -> None:
        """Raises Problem unless PULUMI_BACKEND_URL is a file:// URL with the layout this engine knows."""
        url = os.environ.get("PULUMI_BACKEND_URL", "")
        folder = Path(unquote(urlsplit(url).path)).expanduser()
        if not url.startswith("file://") or not folder.is_dir():
            mend = 'eval "$(make -s env)" sets it for the local cloud'
            raise Problem(f"PULUMI_BACKEND_URL ({url or 'not set'}) is not the file:// URL of a folder; {mend}")
        self._project, self.root = project, folder / ".pulumi"
        meta = self.root / "meta.yaml"
        if not meta.exists():
            meta.parent.mkdir(exist_ok=True)
            meta.write_text("version: 1\n", encoding="utf-8")
        elif meta.read_text(encoding="utf-8").strip() != "version: 1":
            raise Problem(f"{meta} is not of version 1; install the Pulumi CLI for this state")

    def stacks(self) -> list[str]:
        return sorted(path.stem for path in self._path("stacks").glob("*.json"))

    def load(self, stack: str) -> Snapshot:
        file = self._path("stacks", f"{stack}.json")
        try:
            return Snapshot.from_json(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise Problem(f"{file} is no state of a stack: {error}") from None

    def save(self, stack: str, snapshot: Snapshot) -> None:
        _write(self._path("stacks", f"{stack}.json"), snapshot.to_json(f"organization/{self._project}/{stack}"))

    def remove(self, stack: str) -> None:
        for path in self._path("stacks").glob(f"{stack}.json*"):
            path.unlink()
        shutil.rmtree(self._path("history", stack), ignore_errors=True)

    @contextmanager
    def locked(self, stack: str) -> Iterator[None]:
        """Raises Problem while another update of the stack runs."""
        folder, name = self._path("locks/organization", stack), f"{uuid.uuid4()}.json"
        owner = {"pid": os.getpid(), "username": getpass.getuser(), "hostname": socket.gethostname()}
        _write(folder / name, {**owner, "timestamp": now()})
        try:
            if others := [json.loads(path.read_text()) for path in folder.glob("*.json") if path.name != name]:
                who = [f"{o['username']}@{o['hostname']} (pid {o['pid']}) since {o['timestamp']}" for o in others]
                raise Problem(
                    f"the stack is currently locked by {len(others)} lock(s): {', '.join(who)}. Either wait for the"
                    " other process(es) to end or delete the lock file with `pulumi cancel`."
                )
            yield
        finally:
            (folder / name).unlink(missing_ok=True)

    def unlock(self, stack: str) -> None:
        """Removes every lock, whoever holds it."""
        shutil.rmtree(self._path("locks/organization", stack), ignore_errors=True)

    def add_history(self, stack: str, entry: dict[str, Any]) -> None:
        base = self._path("history", stack, f"{stack}-{time.time_ns()}")
        _write(base.with_suffix(".history.json"), entry)
        shutil.copyfile(self._path("stacks", f"{stack}.json"), base.with_suffix(".checkpoint.json"))

    def history(self, stack: str) -> list[dict[str, Any]]:
        """The updates so far, the latest first."""
        files = sorted(self._path("history", stack).glob("*.history.json"), reverse=True)
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def _path(self, kind: str, *parts: str) -> Path:
        return self.root.joinpath(kind, self._project, *parts)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    part.replace(path)
    path.with_name(path.name + ".attrs").unlink(missing_ok=True)  # the CLI's checksum of what was there before
