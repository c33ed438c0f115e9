"""The CLI's file backend: states, locks and history of a project's stacks in a folder.

.pulumi/meta.yaml                                     version of the layout
.pulumi/stacks/<project>/<stack>.json                 the state
.pulumi/history/<project>/<stack>/<stack>-<ns>.*      one pair of files for each update
.pulumi/locks/organization/<project>/<stack>/*.json   one file while an update runs
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local.pulumi_engine import Problem, checkpoint
from local.pulumi_engine.checkpoint import Snapshot


class Backend:
    def __init__(self, project: str) -> None:
        """Raises Problem unless PULUMI_BACKEND_URL is a file:// URL with the layout this engine knows."""
        url = os.environ.get("PULUMI_BACKEND_URL", "")
        if not url.startswith("file://"):
            raise Problem(
                f"the bundled engine keeps states in files only, and PULUMI_BACKEND_URL is {url or 'not set'};"
                ' eval "$(make -s env)" sets it for the local cloud'
            )
        self.project, self.url = project, url
        folder = Path(unquote(urlsplit(url).path)).expanduser()
        if not folder.is_dir():
            raise Problem(f"the folder of PULUMI_BACKEND_URL does not exist: mkdir -p {folder}")
        self.root = folder / ".pulumi"
        meta = self.root / "meta.yaml"
        if not meta.exists():
            meta.parent.mkdir(exist_ok=True)
            meta.write_text("version: 1\n", encoding="utf-8")
        elif meta.read_text(encoding="utf-8").strip() != "version: 1":
            raise Problem(f"{meta} is not of version 1; install the Pulumi CLI for this state")

    def stacks(self) -> list[str]:
        return sorted(path.stem for path in (self.root / "stacks" / self.project).glob("*.json"))

    def exists(self, stack: str) -> bool:
        return self._state(stack).exists()

    def load(self, stack: str) -> Snapshot:
        try:
            return checkpoint.read(json.loads(self._state(stack).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise Problem(f"no stack named '{stack}' found; pulumi stack init {stack}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise Problem(f"{self._state(stack)} is no state of a stack: {error}") from None

    def save(self, stack: str, snapshot: Snapshot | None) -> None:
        self._write(self._state(stack), checkpoint.write(f"organization/{self.project}/{stack}", snapshot))

    def remove(self, stack: str) -> None:
        self._state(stack).unlink()
        for part in (".json.attrs", ".json.bak", ".json.bak.attrs"):
            self._state(stack).with_suffix(part).unlink(missing_ok=True)
        shutil.rmtree(self._history(stack), ignore_errors=True)

    def changed_at(self, stack: str) -> float:
        return self._state(stack).stat().st_mtime

    @contextmanager
    def locked(self, stack: str) -> Iterator[None]:
        """Raises Problem while another update of the stack runs."""
        mine = self._locks(stack) / f"{uuid.uuid4()}.json"
        owner = {"pid": os.getpid(), "username": getpass.getuser(), "hostname": socket.gethostname()}
        self._write(mine, {**owner, "timestamp": checkpoint.now()})
        try:
            if others := [path for path in self._locks(stack).glob("*.json") if path != mine]:
                raise Problem(self._who_locks(others))
            yield
        finally:
            mine.unlink(missing_ok=True)

    def unlock(self, stack: str) -> None:
        """Removes every lock, whoever holds it."""
        shutil.rmtree(self._locks(stack), ignore_errors=True)

    def add_history(self, stack: str, entry: dict[str, Any]) -> None:
        base = self._history(stack) / f"{stack}-{time.time_ns()}"
        self._write(base.with_name(base.name + ".history.json"), entry)
        shutil.copyfile(self._state(stack), base.with_name(base.name + ".checkpoint.json"))

    def history(self, stack: str) -> list[dict[str, Any]]:
        """The updates so far, the latest first."""
        files = sorted(self._history(stack).glob("*.history.json"), reverse=True)
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def _who_locks(self, locks: list[Path]) -> str:
        lines = [
            f"the stack is currently locked by {len(locks)} lock(s). Either wait for the other process(es) to end or"
            " delete the lock file with `pulumi cancel`."
        ]
        for path in locks:
            owner = json.loads(path.read_text(encoding="utf-8"))
            who = f"{owner['username']}@{owner['hostname']} (pid {owner['pid']})"
            lines.append(f"  file://{path}: created by {who} at {owner['timestamp']}")
        return "\n".join(lines)

    def _state(self, stack: str) -> Path:
        return self.root / "stacks" / self.project / f"{stack}.json"

    def _history(self, stack: str) -> Path:
        return self.root / "history" / self.project / stack

    def _locks(self, stack: str) -> Path:
        return self.root / "locks" / "organization" / self.project / stack

    def _write(self, path: Path, document: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        part.replace(path)
        path.with_name(path.name + ".attrs").unlink(missing_ok=True)  # the CLI's checksum of what was there before
