"""How long an `up` takes with the bundled deployment engine and with the real Pulumi CLI.

python -m benchmarks.engine [--rounds N] [--things N] [--stack]

Measures a full `up` and a no-op `up` of a project with quick resources, the engines in turn, and prints medians in
seconds and the ratio here ÷ CLI (below 1: the bundled engine is quicker). With --stack also this project's own stack in
a local cloud of its own: a full `up` once (about half a minute for each engine), then no-ops. Needs the CLI on PATH.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.local_cloud import LocalCloud
from tests.pulumi_engine.lab import BUNDLED, STACK, Lab, real_cli
from tests.stack.project import Project

Timings = dict[str, dict[str, list[float]]]
"""Seconds by what was measured and engine."""


def measure_things(engines: dict[str, Path], cloud: LocalCloud, rounds: int, things: int, timings: Timings) -> None:
    plan = {"things": {f"thing-{number}": {"text": "text"} for number in range(things)}}
    for _ in range(rounds):
        for engine, cli in engines.items():
            with tempfile.TemporaryDirectory() as folder:
                lab = Lab(Path(folder) / "lab", cli, cloud.env)
                lab.plan(plan)
                for what in (f"full up, {things} quick resources", f"no-op up, {things} quick resources"):
                    arguments = ("up", "--yes", "--skip-preview", "--stack", STACK)
                    _time(timings, what, engine, lambda lab=lab, words=arguments: lab.pulumi(*words).check_returncode())


def measure_stack(engines: dict[str, Path], cloud: LocalCloud, folder: Path, rounds: int, timings: Timings) -> None:
    path = os.environ["PATH"]
    projects: dict[str, Project] = {}
    try:
        for engine, cli in engines.items():
            os.environ["PATH"] = f"{cli}:{path}"
            projects[engine] = Project(folder / engine, cloud, engine)
            _time(timings, "full up, this project's stack", engine, projects[engine].up)
        for _ in range(rounds):
            for engine, cli in engines.items():
                os.environ["PATH"] = f"{cli}:{path}"
                _time(timings, "no-op up, this project's stack", engine, projects[engine].up)
    finally:
        for project in projects.values():
            project.destroy()
        os.environ["PATH"] = path


def _time(timings: Timings, what: str, engine: str, run: Callable[[], object]) -> None:
    began = time.monotonic()
    outcome = run()
    took = time.monotonic() - began
    if getattr(outcome, "failed", False):
        raise RuntimeError(f"{what} failed with the {engine}: {getattr(outcome, 'text', '')}")
    timings.setdefault(what, {}).setdefault(engine, []).append(took)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--things", type=int, default=10)
    parser.add_argument("--stack", action="store_true", help="this project's own stack as well")
    options = parser.parse_args()
    cli = real_cli()
    if cli is None:
        print("error: no pulumi on PATH to compare with; https://www.pulumi.com/docs/install/", file=sys.stderr)
        return 1
    engines = {"bundled": BUNDLED, "cli": cli}
    timings: Timings = {}
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder) / "cloud")
        cloud.start()
        try:
            measure_things(engines, cloud, options.rounds, options.things, timings)
            if options.stack:
                measure_stack(engines, cloud, Path(folder), options.rounds, timings)
        finally:
            cloud.stop()
    print(f"{'':<36} {'bundled':>9} {'CLI':>9} {'ratio':>7}   rounds")
    for what, found in timings.items():
        bundled, real = (statistics.median(found[engine]) for engine in engines)
        print(f"{what:<36} {bundled:>7.2f} s {real:>7.2f} s {bundled / real:>7.2f}   {len(found['bundled'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
