"""The verbs that run something: preview, up, refresh and destroy, for one stack."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from local.pulumi_engine import Problem
from local.pulumi_engine.backend import Backend
from local.pulumi_engine.checkpoint import PROVIDER_TYPE, Snapshot
from local.pulumi_engine.deployment import Deployment, Options, Stopped
from local.pulumi_engine.display import Display
from local.pulumi_engine.events import EventLog
from local.pulumi_engine.monitor import Services
from local.pulumi_engine.project import Config, Project, as_text
from local.pulumi_engine.properties import Properties, Secret, bare, has_secret
from local.pulumi_engine.provider import DynamicProvider, child, pump

_PENDING = """Attempting to deploy or update resources with {} pending operations from previous deployment.
{}
These resources are in an unknown state because the update was interrupted while it waited for changes to them.
`pulumi refresh --clear-pending-creates` clears the record of them once you have looked."""


@dataclass
class Update:
    """One run of a verb; `kind` is update, refresh or destroy."""

    kind: str
    project: Project
    backend: Backend
    stack: str
    config: Config
    options: Options
    display_options: dict[str, bool]
    event_log: str | None = None
    clear_pending_creates: bool = False
    changed: bool = False
    """After a run: whether anything differed."""

    def run(self) -> bool:
        """Whether it succeeded. Raises Problem where it could not begin."""
        if self.options.dry_run:
            return self._run()
        with self.backend.locked(self.stack):
            return self._run()

    def _run(self) -> bool:
        snapshot = self.backend.load(self.stack)
        snapshot.salt = snapshot.salt or self.config.ensure_salt()
        values = self._program_config() if self.kind == "update" else _provider_config(snapshot)
        display = Display(self.kind, self.stack, self.project.name, EventLog(self.event_log), **self.display_options)
        before = snapshot.stack()
        olds = dict(before.outputs) if before else None
        began = int(time.time())
        services = Services(self.stack, self.project.name, display)
        provider = DynamicProvider(self.project, values, services.address, display.say)
        if snapshot.pending and not self.options.dry_run and self.kind != "refresh":
            rows = [
                f"  * {operation.resource.urn}, interrupted while {operation.type}" for operation in snapshot.pending
            ]
            display.log("warning", "", _PENDING.format(len(rows), "\n".join(rows)))

        save = partial(self.backend.save, self.stack)
        deployment = Deployment(snapshot, provider, values, display, save, self.options)
        succeeded = False
        try:
            with _interruptible(deployment):
                match self.kind:
                    case "refresh":
                        deployment.refresh(self.clear_pending_creates)
                    case "destroy":
                        deployment.destroy()
                    case _:
                        self._run_program(services, deployment, values, display)
                succeeded = True
        except Stopped as error:
            deployment.stop()
            deployment.wait_for_running_steps()
            deployment.keep_outputs()
            if not isinstance(error, ProgramFailed):
                display.log("error", "", f"{'preview' if self.options.dry_run else 'update'} failed")
        finally:
            provider.stop()
            services.stop()
            after = deployment.snapshot()
            if not self.options.dry_run:
                deployment.save()
                self._record(began, succeeded, display)
            stack = after.stack()
            display.close(olds, stack.outputs if stack else {}, failed=not succeeded)
            self.changed = any(count for op, count in display.changes.items() if op != "same")
        return succeeded

    def _program_config(self) -> Properties:
        """Every key's value as the program gets it: a text, secret where any part of it is."""
        return {
            key: Secret(as_text(bare(value))) if has_secret(value) else as_text(value)
            for key, value in sorted(self.config.complete().items())
        }

    def _run_program(self, services: Services, deployment: Deployment, values: Properties, display: Display) -> None:
        """Raises Stopped."""
        services.serve(deployment)
        settings = {
            "monitor": services.address,
            "engine": services.address,
            "project": self.project.name,
            "stack": self.stack,
            "parallel": self.options.parallel,
            "dry_run": self.options.dry_run,
            "organization": "organization",
            "root_directory": str(self.project.folder),
        }
        process = child(
            self.project,
            str(Path(__file__).with_name("program_main.py")),
            json.dumps(settings),
            PULUMI_CONFIG=json.dumps(bare(values)),
            PULUMI_CONFIG_SECRET_KEYS=json.dumps([key for key, value in values.items() if has_secret(value)]),
        )
        pumps = [pump(stream, display.say) for stream in (process.stdout, process.stderr)]
        try:
            while process.poll() is None:
                if deployment.stopped.wait(0.02):
                    deployment.wait_for_running_steps()
                    raise Stopped
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(2)
                process.kill()
            services.over.set()
            for thread in pumps:
                thread.join(2)
        if process.returncode or not services.done.is_set():
            if process.returncode != 32:  # after which the program has explained itself
                text = f"program exited with non-zero exit code: {process.returncode}"
                display.log("error", "", f"an unhandled error occurred: {text}")
            raise ProgramFailed
        deployment.delete_what_is_gone()

    def _record(self, began: int, succeeded: bool, display: Display) -> None:
        entry = {
            "kind": self.kind,
            "startTime": began,
            "message": "",
            "environment": {"exec.kind": "bundled"},
            "config": {key: v if isinstance(v, dict | list) else as_text(v) for key, v in self.config.values.items()},
            "version": 0,
            "result": "succeeded" if succeeded else "failed",
            "endTime": int(time.time()),
            "resourceChanges": dict(display.changes),
        }
        self.backend.add_history(self.stack, entry)


class ProgramFailed(Stopped):
    pass


def _provider_config(snapshot: Snapshot) -> Properties:
    """What the provider was last configured with: refresh and destroy do not run the program."""
    return next((state.inputs for state in snapshot.resources if state.type == PROVIDER_TYPE), {})


@contextmanager
def _interruptible(deployment: Deployment) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets running operations end, the second ends the engine."""

    def interrupt(_number: int, _frame: object) -> None:
        if deployment.stopped.is_set():
            raise Problem("ended at once; what was running may exist: the next `pulumi up` goes on from there")
        print("interrupted: waiting for running operations to end; once more to end at once", file=sys.stderr)
        deployment.stop()

    befores = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in befores.items():
            signal.signal(number, before)
