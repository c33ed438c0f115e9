"""`python -m components.jobs`: what runs in the cloud for a stack, and how it is stopped."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from components import modal_api
from components.claims import Claim, Claims
from components.dynamic import DeploymentError
from components.jobs import over


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 where there is no such job, or Modal refuses."""
    parser = argparse.ArgumentParser(prog="python -m components.jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("list", "the jobs that run"), ("cancel", "end them; the next `pulumi up` starts them again")):
        command = commands.add_parser(name, help=text)
        command.add_argument("dict", help="the stack's Dict: the app's name and -jobs")
        command.add_argument("job", nargs="?", help="only this one, by the name that `list` prints")
        command.add_argument("--env", default="main", help="Modal environment (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        running = _running(asked.env, asked.dict)
        if asked.job:
            running = [claim for claim in running if claim.job == asked.job]
        for claim in running:
            if asked.command == "cancel":
                _cancel(asked.env, asked.dict, claim)
            else:
                print(f"{claim.job}  {claim.call}  since {_time(claim.at)}")
    except DeploymentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not running:
        print(f"nothing runs{f' for {asked.job}' if asked.job else ''} in {asked.dict}, environment {asked.env}")
        return 1 if asked.job else 0
    return 0


def _running(environment: str, name: str) -> list[Claim]:
    """The latest claim of each job whose call has not ended."""
    entries: Any = modal_api.stack_dict(environment, name, create=False)
    with modal_api.explained(f"Dict {name}", environment):
        keys = [key.split("/", 1)[1] for key in map(str, entries.keys()) if key.startswith("claim/")]
        jobs = sorted({job for job, _, number in (key.rpartition("/") for key in keys) if number.isdecimal()})
        latest = [Claims(entries, job).latest() for job in jobs]
    return [claim for claim in latest if claim and claim.call and not over(claim.call, environment)]


def _cancel(environment: str, name: str, claim: Claim) -> None:
    assert claim.call  # _running has chosen those that have one
    with modal_api.explained(f"job {claim.job}", environment):
        # Before its end, so that whoever waits for it can tell why it ended.
        modal_api.stack_dict(environment, name, create=False).put(f"cancelled/{claim.call}", time.time())
    modal_api.cancel_call(claim.call, environment)
    print(f"{claim.job}: cancelled; its container ends within half a minute, `pulumi up` starts it again")


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
