"""Long jobs: functions of the pipeline app that outlive the `pulumi up` that started them.

Whoever wants a job that runs attaches to its call (components/claims.py), so a Ctrl-C, a killed CLI or a lost
connection costs nothing and never starts a second one.

    python -m components.jobs list DICT             the jobs that run; DICT is `<app>-jobs`
    python -m components.jobs cancel DICT [JOB]     ends them, or that one; the next `pulumi up` starts it again
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from components import interruption, modal_api
from components.claims import Claim, Claims
from components.dynamic import DeploymentError, Properties, Report

T = TypeVar("T")
REPORT_SECONDS = 10
SILENCE_SECONDS = 60
LOST_SECONDS = 300
"""How long a job is waited for while Modal does not answer."""


@dataclass(frozen=True)
class Job:
    environment: str
    app: str
    """The pipeline app's name."""
    jobs_dict: str
    function: str
    name: str
    """What the job makes; the same name is never made twice at once."""
    payload: dict[str, Any]

    @classmethod
    def of(cls, props: Properties, function: str, name: str, **payload: Any) -> Job:
        """A job for a resource whose inputs name the environment, the pipeline app and the Dict."""
        return cls(
            props["environment"], props["pipelineApp"], props["jobsDict"], function, name, {**payload, "job": name}
        )

    @property
    def next_commands(self) -> str:
        """What to type after one has stopped waiting for it."""
        return (
            "`pulumi up` attaches to it again, "
            f"`python -m components.jobs cancel {self.jobs_dict} --env {self.environment}` stops it"
        )


def run_job(job: Job, report: Report) -> dict[str, Any]:
    """Runs the job, or attaches to the one that runs; returns its result.

    Raises DeploymentError; the claim outlives it where the job may still run, so that the next `up` attaches.
    """
    entries = modal_api.stack_dict(job.environment, job.jobs_dict)
    claims = Claims(entries, job.name)
    waits = False
    while True:
        call_id, spawned = _call_of(job, claims, entries)
        if call_id is None:
            if interruption.asked():
                raise DeploymentError("interrupted before its job was started")
            if not waits:
                report("another `pulumi up` has just claimed the job; waiting for it to be started")
            waits = True
            time.sleep(1)  # there is no event to wait on
            continue
        if not spawned:
            report("attached to the job that is already running")
        try:
            return _follow(job, call_id, entries, report)
        except modal_api.CallGone:
            continue
        except modal_api.CallFailed as error:
            with modal_api.explained(f"job {job.name}", job.environment):
                cancelled = entries.get(f"cancelled/{call_id}")
            reason = "cancelled by `components.jobs cancel`; `pulumi up` starts it again" if cancelled else str(error)
            raise DeploymentError(reason) from None


def _call_of(job: Job, claims: Claims, entries: Any) -> tuple[str | None, bool]:
    """The call to follow and whether we started it; (None, False) while another `up` is about to start it."""
    claim = _asked(job, claims.latest)
    if claim is not None:
        # A result nobody collected may be older than what has happened to the volume since: only a call that still
        # runs is followed.
        if claim.call and not over(claim.call, job.environment):
            return claim.call, False
        if not claim.call and not claim.expired:
            return None, False
    mine = _asked(job, lambda: claims.take(claim))
    if mine is None:
        return None, False
    _asked(job, lambda: entries.pop(f"progress/{job.name}", None))  # of an earlier run
    if mine.expired:
        return None, False
    return _spawn(job, claims, mine)


@modal_api.patient
def _asked(job: Job, question: Callable[[], T]) -> T:
    """Asks the stack's Dict something that may be asked again."""
    with modal_api.explained(f"job {job.name}", job.environment):
        return question()


def _spawn(job: Job, claims: Claims, claim: Claim) -> tuple[str | None, bool]:
    try:
        call_id = modal_api.spawn(job.environment, job.app, job.function, {**job.payload, "claim": claim.key})
    except modal_api.Unreachable:
        raise  # it may have been started: nobody else may, as long as the claim holds
    except DeploymentError:
        _asked(job, lambda: claims.give_up(claim))
        raise
    if _asked(job, lambda: claims.name_call(claim, call_id)):
        return call_id, True
    # It took us longer than a claim holds; whoever took over runs the job by now.
    modal_api.cancel_call(call_id, job.environment)
    return None, False


@modal_api.patient
def over(call_id: str, environment: str) -> bool:
    """Whether the call has ended, one way or another."""
    try:
        return modal_api.wait_for_call(call_id, 0, environment) is not None
    except (modal_api.CallFailed, modal_api.CallGone):
        return True


def _follow(job: Job, call_id: str, entries: Any, report: Report) -> dict[str, Any]:
    last_line = ""
    began = said = heard = time.monotonic()
    looks_at = began + 1  # the first progress line comes early, the later ones at most every ten seconds
    while True:
        try:
            result = modal_api.wait_for_call(call_id, 1, job.environment)
            if result is not None:
                return result
            if interruption.asked():
                raise DeploymentError(f"interrupted, but its job goes on in the cloud: {job.next_commands}")
            now = time.monotonic()
            if now < looks_at:
                continue
            with modal_api.explained(f"job {job.name}", job.environment):
                progress = entries.get(f"progress/{job.name}")
        except modal_api.Unreachable as error:
            lost = time.monotonic() - heard
            if lost > LOST_SECONDS or interruption.asked():
                raise DeploymentError(f"{error}; its job may go on in the cloud: {job.next_commands}") from None
            if heard >= said:
                report(f"Modal does not answer; the job goes on, waiting up to {LOST_SECONDS} s for an answer")
                said = time.monotonic()
            time.sleep(1)
            continue
        heard = now
        looks_at = now + (REPORT_SECONDS if last_line else 1)
        if progress and progress["line"] != last_line:
            last_line, said = progress["line"], now
            report(last_line)
            looks_at = now + REPORT_SECONDS
        elif now - said > SILENCE_SECONDS or (said == began and now - began > REPORT_SECONDS and _waits(job)):
            said = now
            report(_why_silent(job, said - began))


def _waits(job: Job) -> bool:
    try:
        return modal_api.waits_for_container(job.environment, job.app, job.function)
    except DeploymentError:
        return False  # the next question about the job itself deals with that


def _why_silent(job: Job, seconds: float) -> str:
    if _waits(job):
        return f"waiting for {seconds:.0f} s for Modal to have a container free; {job.next_commands}"
    return f"no news for {SILENCE_SECONDS} s, {seconds:.0f} s in all; `modal app logs {job.app}` tells more"


if __name__ == "__main__":
    from components.job_commands import main

    sys.exit(main())
