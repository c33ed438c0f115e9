"""One update of a stack, from its lock to its history entry."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from local.pulumi_engine import Problem
from local.pulumi_engine.deployment import Deployment, Stopped
from local.pulumi_engine.display import Display
from local.pulumi_engine.processes import DynamicProvider, Program

if TYPE_CHECKING:
    from local.pulumi_engine.command_line import Place

_PENDING = """Attempting to deploy or update resources with {} pending operations from previous deployment.
{}
These resources are in an unknown state because the update was interrupted while it waited for changes to them.
`pulumi refresh --clear-pending-creates` clears the record of them once you have looked."""


def update(kind: str, place: Place, options: Any, *, dry_run: bool) -> bool:
    """Whether it succeeded. `kind` is update, refresh or destroy. Raises Problem where it could not begin."""
    options.dry_run = dry_run
    with nullcontext() if dry_run else place.backend.locked(place.stack):
        return _update(kind, place, options)


def _update(kind: str, place: Place, options: Any) -> bool:
    began, backend, stack, dry_run = int(time.time()), place.backend, place.stack, options.dry_run
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
    deployment = Deployment(snapshot, provider, display, partial(backend.save, stack), options)
    succeeded = False
    try:
        with _interruptible(deployment, provider):
            match kind:
                case "refresh":
                    deployment.refresh()
                case "destroy":
                    deployment.destroy()
                case _:
                    program.run(deployment, config, options)
                    deployment.delete_what_is_gone()
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
