"""One update of a stack, from its state to its history entry."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from local.pulumi_engine import Problem
from local.pulumi_engine.deployment import Deployment, Stopped
from local.pulumi_engine.display import Display
from local.pulumi_engine.processes import DynamicProvider, Program
from local.pulumi_engine.project import Place

_PENDING = """Attempting to deploy or update resources with {} pending operations from previous deployment.
{}
These resources are in an unknown state because the update was interrupted while it waited for changes to them.
`pulumi refresh --clear-pending-creates` clears the record of them once you have looked."""


def update(kind: str, place: Place, options: Any, *, dry_run: bool) -> bool:
    """Whether it succeeded. `kind` is update, refresh or destroy. The stack's lock is held where it is no dry run."""
    options.dry_run = dry_run
    began, backend, stack = int(time.time()), place.backend, place.stack
    snapshot = backend.load(stack)
    snapshot.salt = snapshot.salt or place.config.ensure_salt()
    # Refresh and destroy do not run the program: the provider is configured as it was then.
    before = next((state.inputs for state in snapshot.resources if state.is_provider), {})
    config = place.config.for_program() if kind == "update" else before
    display = Display(kind, stack, dry_run=dry_run, event_log=options.event_log)
    if snapshot.pending and not dry_run and kind != "refresh":
        rows = [f"  * {state.urn}, interrupted while {doing}" for doing, state in snapshot.pending]
        display.log("warning", "", _PENDING.format(len(rows), "\n".join(rows)))
    program = Program(stack, place.project, display)
    provider = DynamicProvider(place.project, config, program.address, display.say)
    deployment = Deployment(snapshot, provider, display, options)
    deployment.save = deployment.save if dry_run else partial(backend.save, stack)
    succeeded = False
    try:
        with _interruptible(deployment, provider):
            if kind == "update":
                program.run(deployment, config, options)
            last = {"update": deployment.delete_what_is_gone, "refresh": deployment.refresh}
            last.get(kind, deployment.destroy)()
            succeeded = True
    except Stopped as stop:
        deployment.stopped.set()
        deployment.wait_for_running_steps()
        deployment.keep_outputs()
        display.log("error", "", str(stop) or f"{'preview' if dry_run else 'update'} failed")
    finally:
        provider.stop()
        program.stop()
        after = deployment.snapshot()
        outputs = after.stack.outputs if after.stack and kind == "update" and not options.suppress_outputs else {}
        display.close(outputs, failed=not succeeded)
        if not dry_run:
            backend.save(stack, after)
            entry = {"kind": kind, "startTime": began, "endTime": int(time.time()), "message": "", "environment": {}}
            entry |= {"config": {}, "version": 0, "resourceChanges": dict(display.changes)}
            backend.add_history(stack, {**entry, "result": "succeeded" if succeeded else "failed"})
    if succeeded and options.expect_no_changes and display.changes.keys() - {"same"}:
        raise Problem(f"no changes were expected but changes {'proposed' if dry_run else 'occurred'}")
    return succeeded


@contextmanager
def _interruptible(deployment: Deployment, provider: DynamicProvider) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks running operations to end and waits for them, the second ends the engine."""

    def interrupt(_number: int, _frame: object) -> None:
        if deployment.stopped.is_set():
            raise Problem("ended at once; what was running may exist: the next `pulumi up` goes on from there")
        print("interrupted: waiting for running operations to end; once more to end at once", file=sys.stderr)
        deployment.stopped.set()
        provider.cancel()

    befores = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in befores.items():
            signal.signal(number, before)
