"""Long jobs: functions of the pipeline app that outlive the `pulumi up` that started them.

A claim in the stack's Dict maps a job to its call. Whoever wants the job next attaches to that call, so a Ctrl-C, a
killed CLI or a lost connection costs nothing and never starts a second one. The claim is written before the call is
spawned and carries a lease until the call's id is in it, since its owner may die in between.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from components import modal_api
from components.dynamic import DeploymentError, Properties, Report

LEASE_SECONDS = 30
REPORT_SECONDS = 10
SILENCE_SECONDS = 60


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
    def claim(self) -> str:
        return f"claim/{self.name}"


def run_job(job: Job, report: Report) -> dict[str, Any]:
    """Runs the job, or attaches to the one that runs; returns its result.

    Raises DeploymentError; the claim outlives it where the job may still run, so that the next `up` attaches.
    """
    claims = modal_api.stack_dict(job.environment, job.jobs_dict)
    owner = uuid.uuid4().hex
    while True:
        call_id, spawned = _claim(job, claims, owner)
        if call_id is None:
            time.sleep(1)  # another `up` is between its claim and its spawn; there is no event to wait on
            continue
        try:
            if not spawned:
                if _finished(job, call_id):
                    # A result nobody collected may be older than what has happened to the volume since.
                    _release(job, claims, call_id)
                    continue
                report("attached to the job that is already running")
            result = _follow(job, call_id, claims, report)
        except modal_api.CallGone:
            _release(job, claims, call_id)
            continue
        except modal_api.CallFailed as error:
            _release(job, claims, call_id)
            raise DeploymentError(str(error)) from None
        _release(job, claims, call_id)
        return result


def _release(job: Job, claims: Any, call_id: str) -> None:
    """Gives the claim up, unless it is already another call's."""
    with modal_api.explained(f"job {job.name}", job.environment):
        claim = claims.get(job.claim)
        if claim and claim["call"] == call_id:
            claims.pop(job.claim, None)


def _claim(job: Job, claims: Any, owner: str) -> tuple[str | None, bool]:
    """The call to follow and whether we started it; (None, False) while another `up` is about to start it."""
    now = time.time()
    with modal_api.explained(f"job {job.name}", job.environment):
        mine = claims.put(job.claim, {"owner": owner, "call": None, "at": now}, skip_if_exists=True)
        claim = claims.get(job.claim)
        if not mine and claim and not claim["call"] and now - claim["at"] > LEASE_SECONDS:
            claims.put(job.claim, {"owner": owner, "call": None, "at": now})
            claim = claims.get(job.claim)
        if claim is None:
            return None, False
        if claim["call"]:
            return claim["call"], False
        if claim["owner"] != owner:
            return None, False
        claims.pop(f"progress/{job.name}", None)  # of an earlier run
        call_id = modal_api.spawn(job.environment, job.app, job.function, job.payload)
        claims.put(job.claim, {"owner": owner, "call": call_id, "at": now})
        return call_id, True


def _finished(job: Job, call_id: str) -> bool:
    try:
        return modal_api.wait_for_call(call_id, 0, job.environment) is not None
    except modal_api.CallFailed:
        return True


def _follow(job: Job, call_id: str, claims: Any, report: Report) -> dict[str, Any]:
    last_line = ""
    began = said = time.monotonic()
    wait = 1.0  # the first progress line comes early, the later ones at most every ten seconds
    while True:
        result = modal_api.wait_for_call(call_id, wait, job.environment)
        if result is not None:
            return result
        with modal_api.explained(f"job {job.name}", job.environment):
            progress = claims.get(f"progress/{job.name}")
        if progress and progress["line"] != last_line:
            last_line = progress["line"]
            report(last_line)
            wait = REPORT_SECONDS
            said = time.monotonic()
        elif time.monotonic() - said > SILENCE_SECONDS:
            said = time.monotonic()
            report(
                f"no news for {SILENCE_SECONDS} s, {said - began:.0f} s in all; `modal app logs {job.app}` tells more"
            )
