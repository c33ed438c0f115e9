"""One full `pulumi up` in a cloud of its own, something of it killed, and `up` again until the stack stands."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kills import victims
from benchmarks.kills.cloud_state import CloudState
from tests.stack.project import STACK, Project

UP_SECONDS = 400.0
MOST_UPS = 5
_CREATED = re.compile(r"([\w-]+) created \(")


@dataclass
class Killed:
    target: str
    what: str
    second: float
    """After the start of that `up`."""
    phase: str
    """The resources that `up` had reported as created by then."""
    committed: dict[str, int]
    """Weight files on the volume at that moment, and how often the Hub had sent each to its end."""


@dataclass
class Recovery:
    kills: list[Killed] = field(default_factory=list)
    ups: int = 0
    first_exit: int = 0
    last_exit: int = 0
    locks: int = 0
    """How often a lock was left, and taken away by `pulumi cancel`."""
    checksums: int = 0
    """How often the CLI died while it wrote the checksum beside its state, which it can't read with an empty one."""
    warned: bool = False
    """A pending operation was warned of."""
    attached: int = 0
    language_host_left: bool = False
    """Pulumi's own language host outlived the CLI by ten seconds; it looks for its CLI every few minutes."""
    seconds: float = 0.0
    """From the first kill to the end of the `up` that converged."""
    problems: list[str] = field(default_factory=list)


class Trial:
    def __init__(self, project: Project, seed: int) -> None:
        self.project = project
        self.printed: list[str] = []
        """What each `up` has printed."""
        self.recovery = Recovery()
        self._chance = random.Random(seed)

    @property
    def backend(self) -> str:
        return self.project.environ["PULUMI_BACKEND_URL"]

    def up_and_kill(self, target: str, when: float | str) -> None:
        """`when` is seconds after the start, or a text to be printed first. Where there is nothing to kill, because
        `up` has ended by then or no container ever runs, nothing is noted."""
        self._unlock()
        with self._up() as (cli, output):
            began = time.monotonic()
            while cli.poll() is None:
                text = output.read_text(errors="replace")
                due = when in text if isinstance(when, str) else time.monotonic() - began >= when
                if due:
                    committed = self._committed()
                    what = victims.kill(target, cli.pid, self.backend, self.project.cloud.dir, self._chance)
                    if what is not None:
                        second = time.monotonic() - began
                        phase = " ".join(dict.fromkeys(_CREATED.findall(text)))
                        self.recovery.kills.append(Killed(target, what, round(second, 2), phase, committed))
                        break
                    if target != "container":
                        break
                if time.monotonic() - began > UP_SECONDS:
                    break
                time.sleep(0.02)
            killed_at = time.monotonic()
            self._wait(cli)
        self.recovery.ups += 1
        self.recovery.first_exit = self.recovery.first_exit or cli.returncode
        self.recovery.last_exit = cli.returncode
        if cli.returncode == 0:
            self.recovery.seconds = time.monotonic() - killed_at
        else:
            self._see_what_is_left()

    def converge(self) -> None:
        """`up` until it ends well, after `pulumi cancel` where a lock is left, as the CLI says."""
        began = time.monotonic()
        for _ in range(MOST_UPS):
            self._unlock()
            with self._up() as (cli, _):
                self._wait(cli)
            self.recovery.ups += 1
            self.recovery.last_exit = cli.returncode
            self.recovery.warned |= "pending" in self.printed[-1] and "interrupted" in self.printed[-1]
            self.recovery.attached += self.printed[-1].count("weights: attached") > 0
            self.recovery.attached += self.printed[-1].count("kernels: attached") > 0
            if cli.returncode == 0:
                self.recovery.seconds = time.monotonic() - began
                return
        self.recovery.problems.append(f"does not converge: {self.printed[-1][-1500:]}")

    def _see_what_is_left(self) -> None:
        """A CLI that has ended has to take its processes with it."""
        deadline = time.monotonic() + 10
        while left := victims.of_backend(self.backend):
            if time.monotonic() > deadline:
                for process in left:
                    if victims.role(process) == "language host":
                        self.recovery.language_host_left = True
                    else:
                        self.recovery.problems.append(f"left 10 s after the CLI: {' '.join(process.cmdline())[:200]}")
                    process.kill()
                return
            time.sleep(0.2)

    def _committed(self) -> dict[str, int]:
        sent = self.project.hub.completed()
        files = (self.project.cloud.dir / "volumes").glob("*/*/*/model-*.safetensors")
        return {path.name: sent[path.name] for path in files if path.name in sent}

    @contextmanager
    def _up(self) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        output = self.project.folder / f"up-{len(self.printed)}.log"
        with output.open("wb") as stream:
            cli = subprocess.Popen(
                ["pulumi", "up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs", "--color", "never"],
                cwd=self.project.folder,
                env={**os.environ, **self.project.environ},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            yield cli, output
        self.printed.append(output.read_text(errors="replace"))

    def _wait(self, cli: subprocess.Popen[bytes]) -> None:
        try:
            cli.wait(UP_SECONDS)
        except subprocess.TimeoutExpired:
            self.recovery.problems.append(f"`up` did not end within {UP_SECONDS:.0f} s")
            os.killpg(cli.pid, signal.SIGKILL)
            cli.wait()

    def _unlock(self) -> None:
        """As docs/life-cycles.md says to do after the CLI was killed."""
        state = self.project.folder / "state" / ".pulumi"
        for checksum in state.rglob("*.attrs"):
            if not checksum.stat().st_size:
                checksum.unlink()
                self.recovery.checksums += 1
        if any((state / "locks").rglob("*.json")):
            self.recovery.locks += 1
            self._pulumi("cancel", "--yes")

    def _pulumi(self, *arguments: str) -> str:
        finished = subprocess.run(
            ["pulumi", *arguments, "--stack", STACK],
            cwd=self.project.folder,
            env={**os.environ, **self.project.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        return finished.stdout + finished.stderr


def state_of(project: Project) -> CloudState:
    return CloudState(project.cloud.dir)
