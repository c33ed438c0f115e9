"""python -m benchmarks.kills --runs 100 --seed 1 --parallel 2 --out results.jsonl [--minutes 60] [--length SECONDS]

Each run has a seed, which chooses what is killed (the CLI, its process group, the provider process, the language host,
the program, a container) and when (evenly over the length of a full `up`, measured by one without a kill unless it is
given). Then `up`, after `pulumi cancel` where a lock is left, until it ends well; then the checks, `destroy`, and the
checks of what is left. One line of JSON for each run, written as it ends; a run whose `up` ended before its moment came
says so and counts for nothing. Ends with a table, and with status 1 where a check found something.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.kills import checks, victims
from benchmarks.kills.trial import Trial, state_of
from tests.leaks import SecretSearch
from tests.local_cloud import LocalCloud
from tests.stack.project import Project

HUB_BYTES_PER_SECOND = 8_000_000
"""So that the download of 64 MB is a part of a full `up` that a random moment can fall into."""


def run(seed: int, length: float, root: Path) -> dict[str, Any]:
    """One run in a cloud of its own below `root`, which is removed unless a check found something."""
    chance = random.Random(seed)
    target, fraction = victims.choose(chance), chance.random()
    began = time.monotonic()
    folder = root / f"{seed}"
    cloud = LocalCloud(folder / "cloud")
    cloud.start()
    try:
        project = Project(folder / "project", cloud, f"kill{seed}")
        project.configure("retainWeights", "false")
        project.hub.throttle(HUB_BYTES_PER_SECOND)
        trial = Trial(project, seed)
        search = SecretSearch({"Hub token": cloud.env["HF_TOKEN"], "Modal token": cloud.env["MODAL_TOKEN_SECRET"]})
        with search.watching_arguments():
            trial.up_and_kill(target, fraction * length)
            if trial.recovery.first_exit:
                trial.converge()
            recovery = trial.recovery
            problems = list(recovery.problems)
            if not problems:
                search.add("API key", project.outputs()["apiKey"])
                problems += checks.stands(project) + checks.nothing_twice(project)
                problems += checks.downloads(project, recovery.kills)
            jobs = state_of(project).jobs(f"{project.name}-pipeline")
            versions = state_of(project).versions(project.name)
            problems += checks.leaks(search, trial)
            destroyed = project.destroy()
            problems += [f"destroy: {destroyed.text[-500:]}"] if destroyed.failed else checks.nothing_left(project)
        problems += checks.leaks(search, trial)
    finally:
        cloud.stop()
    problems += checks.nothing_runs(cloud.dir)
    if not problems:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "seed": seed,
        "target": target,
        "fraction": round(fraction, 4),
        **asdict(recovery),
        "jobs": dict(Counter(f"{job.function}: {'worked' if job.worked else job.status}" for job in jobs)),
        "versions": versions,
        "searched_mb": round(search.searched / 1e6),
        "took": round(time.monotonic() - began, 1),
        "problems": sorted(set(problems)),
    }


def length_of_an_up(root: Path) -> float:
    """Seconds of a full `up` that nobody disturbs."""
    cloud = LocalCloud(root / "length" / "cloud")
    cloud.start()
    try:
        project = Project(root / "length" / "project", cloud, "length")
        project.hub.throttle(HUB_BYTES_PER_SECOND)
        began = time.monotonic()
        outcome = project.up()
        if outcome.failed:
            raise SystemExit(f"an `up` without any kill fails: {outcome.text}")
        return time.monotonic() - began
    finally:
        cloud.stop()


def summary(lines: list[dict[str, Any]]) -> str:
    """A table by target, over the runs in which something was killed."""
    rows = [f"{'target':14} {'runs':>5} {'ups':>5} {'locks':>6} {'warned':>7} {'attached':>9} {'problems':>9}"]
    killed = [line for line in lines if line.get("kills")]
    for target in [*victims.TARGETS, "all"]:
        chosen = [line for line in killed if target in (line["target"], "all")]
        sums = [sum(int(line[key]) for line in chosen) for key in ("ups", "locks", "warned", "attached")]
        wrong = sum(bool(line["problems"]) for line in chosen)
        rows.append("{:14} {:5} {:5} {:6} {:7} {:9} {:9}".format(target, len(chosen), *sums, wrong))
    return "\n".join([*rows, f"over before their moment came: {len(lines) - len(killed)}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones count on")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON lines, appended to; seeds in it are not run again"
    )
    parser.add_argument("--minutes", type=float, default=1e6, help="no run begins later than this")
    parser.add_argument("--length", type=float, help="seconds of a full `up`, where that is known")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    ends_at = time.monotonic() + 60 * options.minutes
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    length = options.length or length_of_an_up(root)
    print(f"a full up takes {length:.1f} s; what a run with a problem leaves stays in {root}", flush=True)
    writing = Lock()

    def one(seed: int) -> None:
        if time.monotonic() > ends_at or any(line["seed"] == seed for line in lines):
            return
        try:
            line = run(seed, length, root)
        except Exception:
            line = {"seed": seed, "problems": [f"the run itself failed: {traceback.format_exc()}"]}
        with writing, options.out.open("a") as out:
            lines.append(line)
            out.write(json.dumps(line) + "\n")
            kills = ", ".join(f"{kill['target']} at {kill['second']} s" for kill in line.get("kills", [])) or "nothing"
            print(f"{seed}: {kills}; {'; '.join(line['problems']) or 'fine'}", flush=True)

    with ThreadPoolExecutor(options.parallel) as pool:
        list(pool.map(one, range(options.seed, options.seed + options.runs)))
    print(summary(lines))
    return 1 if any(line["problems"] for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
