"""python -m infra.acceptance STACK [--project FOLDER]: a stack through its life, on the Modal you are logged in to.

`make acceptance STACK=dev` runs it. Each step says what it does and what it costs, and asks before it goes on (YES=1:
does not ask). FROM=step takes it up at a step, with the settings that were in force when that step began. The stack's
own file and recipe stay as they are; the stack itself is destroyed in the end, but for what is protected or retained.
Exit status 1, and a line that says what to do, where something is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from components.dynamic import DeploymentError
from infra.acceptance.stack import Rejected, Stack
from infra.acceptance.steps import STEPS, Step
from infra.settings import SettingsError


class Declined(Exception):
    """The person at the terminal does not want to go on."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.acceptance", description="A stack through its life.")
    parser.add_argument("stack")
    parser.add_argument("--project", type=Path, default=Path(__file__).resolve().parents[2], help="with the stack file")
    asked = parser.parse_args(arguments)
    first, names = os.environ.get("FROM") or STEPS[0].name, [step.name for step in STEPS]
    if first not in names:
        print(f"error: there is no step {first}; FROM is one of {', '.join(names)}", file=sys.stderr)
        return 1
    stack, current, began = Stack(asked.stack, asked.project.absolute()), first, time.monotonic()
    try:
        if first == names[0]:
            stack.copy()
        else:
            stack.take_up(first)
        settings = stack.settings
        print(f"acceptance of {asked.stack}: {settings.recipe.model.repo}, environment {settings.environment}")
        steps = STEPS[names.index(first) :]
        for step in steps:
            print(f"  {step.name:15} {step.does}; cost: {step.cost(settings)}")
        for step in steps:
            current = step.name
            _ask(step, step.cost(settings))
            stack.remember(step.name)
            step_began = time.monotonic()
            step.run(stack)
            print(f"{step.name}: passed after {time.monotonic() - step_began:.0f} s", flush=True)
    except Declined:
        print(f"stopped before {current}; {_again(asked.stack, current)}")
        return 1
    except (Rejected, DeploymentError, SettingsError) as error:
        print(f"error: {current}: {error}; mend it, then {_again(asked.stack, current)}", file=sys.stderr)
        return 1
    print(f"accepted: {len(steps)} steps in {(time.monotonic() - began) / 60:.1f} min")
    return 0


def _ask(step: Step, cost: str) -> None:
    print(f"\n{step.name}: {step.does}\n  cost: {cost}", flush=True)
    if os.environ.get("YES") == "1":
        return
    try:
        answer = input("  go on? [y/N] ")
    except EOFError:
        raise Rejected("nobody is there to be asked; YES=1 does not ask") from None
    if answer.strip().lower() not in ("y", "yes"):
        raise Declined


def _again(stack: str, step: str) -> str:
    return f"make acceptance STACK={stack} FROM={step} (make down STACK={stack} takes down what stands)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
