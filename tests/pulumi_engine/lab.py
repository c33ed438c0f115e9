"""A project of its own with quick dynamic resources, and a deployment engine to run it with."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.pulumi_engine import command_line
from local.pulumi_engine.state import Snapshot
from local.pulumi_engine.values import is_secret

REPOSITORY = Path(__file__).parents[2]
BUNDLED = REPOSITORY / "local" / "pulumi_engine" / "bin"
STACK = "test-local"
Plan = dict[str, Any]


def real_cli() -> Path | None:
    """The folder of the real Pulumi CLI, if there is one."""
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != BUNDLED)
    found = shutil.which("pulumi", path=path)
    return Path(found).parent if found else None


@dataclass
class Outcome:
    code: int
    text: str
    operations: list[str] = field(default_factory=list)
    """`operation resource` in the order of their beginnings, without what was left alone and the provider."""
    state: dict[str, Any] = field(default_factory=dict)
    """The state afterwards, without times, generated ids and where the program's lines are."""
    world: dict[str, str] = field(default_factory=dict)
    """The things that exist afterwards, and their texts."""


class Lab:
    def __init__(self, folder: Path, cli: Path, cloud: dict[str, str], *, here: bool = False) -> None:
        """`cloud`: a client's environment of a local cloud, without which the bundled engine does nothing. `here`: it
        runs in this process, which saves starting and deriving keys; only from the main thread."""
        self.folder, self.cli, self._here, self._path = folder, cli, here, os.environ["PATH"]
        os.environ["PULUMI_CONFIG_PASSPHRASE"] = "lab"  # for reading states
        shutil.copytree(Path(__file__).parent / "program", folder)
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")
        (folder / "infra" / ".venv").symlink_to("../.venv")
        for name in ("state", "world"):
            (folder / name).mkdir()
        self.events = folder / "events.json"
        hidden = ("MODAL_", "HF_", "PULUMI_")
        self._environ = {key: value for key, value in os.environ.items() if not key.startswith(hidden)} | {
            **{key: cloud[key] for key in ("MODAL_SERVER_URL", "LOCAL_DIR")},
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "lab",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # the CLI hides --event-log otherwise
            "WORLD": str(folder / "world"),
        }
        assert self.pulumi("stack", "init", STACK).returncode == 0

    def environ(self, cli: Path | None = None, **more: str) -> dict[str, str]:
        return {**self._environ, "PATH": f"{cli or self.cli}:{self._path}", **more}

    def pulumi(
        self, *arguments: str, cli: Path | None = None, text: str | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str((cli or self.cli) / "pulumi"), *arguments, "--non-interactive"]
        if self._here and cli in (None, self.cli):
            return self._run_here(command, self.environ(cli, **environ), text or "")
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ(cli, **environ),
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _run_here(self, command: list[str], environ: dict[str, str], text: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr("sys.stdin", io.StringIO(text))
            code = command_line.main(command[1:])
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    def plan(self, plan: Plan) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def run(self, verb: str, *flags: str, cli: Path | None = None) -> Outcome:
        self.events.unlink(missing_ok=True)
        sure = () if verb == "preview" else ("--yes", "--skip-preview")
        command = [verb, "--stack", STACK, "--color", "never", "--event-log", str(self.events), *sure, *flags]
        done = self.pulumi(*command, cli=cli)
        return Outcome(done.returncode, done.stdout + done.stderr, self._operations(), self.state(), self.world())

    def up_and_kill(self) -> None:
        """Starts an `up` and kills the engine while the thing with the text `hang` is being made."""
        command = ["up", "--stack", STACK, "--yes", "--skip-preview", "--non-interactive"]
        engine = subprocess.Popen(
            [str(self.cli / "pulumi"), *command],
            cwd=self.folder,
            env=self.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (self.folder / "world" / "hanging").exists():
            assert time.monotonic() < deadline
            assert engine.poll() is None
            time.sleep(0.05)
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        (self.folder / "world" / "hanging").unlink()
        self._end_orphans()

    def _end_orphans(self) -> None:
        """A killed engine leaves the program and the provider behind."""
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("WORLD") == self._environ["WORLD"]:
                    process.kill()

    def _operations(self) -> list[str]:
        if not self.events.exists():
            return []
        operations = []
        for line in self.events.read_text().splitlines():
            event = json.loads(line)
            # A refresh says with its end what it found.
            for kind in ("resourcePreEvent", "resOutputsEvent"):
                metadata = event.get(kind, {}).get("metadata", {"op": "same"})
                found = kind == "resOutputsEvent" and metadata["op"] in ("update", "delete") and self._refreshes
                begun = kind == "resourcePreEvent" and metadata["op"] not in ("same", "refresh")
                if (begun or found) and "pulumi:providers:" not in metadata["urn"]:
                    operations.append(f"{metadata['op']} {metadata['urn'].rsplit('::', 1)[1]}")
        return operations

    @property
    def _refreshes(self) -> bool:
        return '"op": "refresh"' in (text := self.events.read_text()) or '"op":"refresh"' in text

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / ".pulumi" / "stacks" / "things" / f"{STACK}.json"

    def state(self) -> dict[str, Any]:
        document = json.loads(self.state_file.read_text())
        snapshot = Snapshot.from_json(document)
        entries = {}
        written = document["checkpoint"]["latest"].get("resources") or []
        for state, entry in zip(snapshot.resources, written, strict=True):
            place = ("created", "modified", "sourcePosition", "stackTrace", "id")
            kept = {key: value for key, value in entry.items() if key not in place}
            if "provider" in kept:
                kept["provider"] = kept["provider"].rsplit("::", 1)[0]
            if "dependencies" in kept:  # the SDK sends them in any order
                kept["dependencies"] = sorted(kept["dependencies"])
            if not state.is_provider:
                kept["id"] = state.id
            for side in ("inputs", "outputs"):
                kept[side] = _readable(getattr(state, side))
            entries[f"{state.name}{' (original)' * state.delete}"] = kept
        pending = sorted(f"{doing} {state.name}" for doing, state in snapshot.pending)
        return {"resources": entries, "pending": pending}

    def world(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted((self.folder / "world").iterdir())}


def _readable(value: Any) -> Any:
    if is_secret(value):
        return {"secret": _readable(value["value"])}
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list) else value
