"""What deploying costs: this project's stack on the local cloud with the real Pulumi CLI, each figure a ratio.

python -m benchmarks.lifecycle [--rounds N] [--link MB_PER_S] [--only PART …] [--json FILE]

noop       a no-op `up` ÷ that of as many trivial dynamic resources; at most 1.1
scaling    an `up` that changes a replica count ÷ a no-op `up`; at most 1.2, no replica restarted, no request failed
redeploy   an `up` with a setting that takes a new version of the app ÷ that `up`
full       a first `up` ÷ its critical path, the jobs from spawn to end and the first replica's start; at most 1.15
download   speed of the weights' job ÷ that of a plain `snapshot_download`; at least 0.95

What is compared is run in turns; a ratio is the median of its rounds' ratios. `full` and `download` get their files
over a link of so many MB/s, or the jobs would be over before anything else has begun. Status 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.modal_cloud.records import Function, Input
from local.modal_cloud.store import Store, Table
from tests.local_cloud import LocalCloud
from tests.pulumi_engine.lab import STACK, Lab, real_cli
from tests.stack.project import Hub, Project

PARTS = ("noop", "scaling", "redeploy", "full", "download")
MODEL = "glm-serving/tiny-glm"
JOBS = ("download_model", "compile_deepgemm", "verify_setup")
_UP = ("up", "--stack", STACK, "--yes", "--skip-preview", "--non-interactive", "--color", "never", "--suppress-outputs")


@dataclass
class Ratio:
    what: str
    measured: list[float]
    """Seconds of each round, or its speed."""
    against: list[float]
    most: float | None = None
    least: float | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Why it misses, other than by the ratio."""

    @property
    def median(self) -> float:
        return statistics.median(a / b for a, b in zip(self.measured, self.against, strict=True))

    @property
    def holds(self) -> bool:
        high, low = (
            self.most is not None and self.median > self.most,
            self.least is not None and self.median < self.least,
        )
        return not (high or low or self.failures)

    def line(self) -> str:
        limit = f"≤ {self.most:g}" if self.most else f"≥ {self.least:g}" if self.least else ""
        verdict = "" if not limit else "holds" if self.holds else "MISSED"
        middle = f"{statistics.median(self.measured):9.2f} {statistics.median(self.against):9.2f}"
        return f"{self.what:<58} {middle} {self.median:7.2f}  {limit:<7} {verdict}"


class Stacks:
    """This project's stack `life`, made when it is first asked for, and a lab with as many trivial resources."""

    def __init__(self, folder: Path, cloud: LocalCloud, cli: Path | None) -> None:
        self.folder, self.cloud, self._cli = folder, cloud, cli
        self._project: Project | None = None

    @property
    def project(self) -> Project:
        if self._project is None:
            self._project = Project(self.folder / "life", self.cloud, "life")
            made = self._project.up()
            if made.failed:
                raise RuntimeError(made.text)
        return self._project

    def destroy(self) -> None:
        if self._project:
            self._project.destroy()

    def lab(self) -> Lab:
        """As many resources as the project has, the stack and a component among them as there."""
        assert self._cli
        lab = Lab(self.folder / "lab", self._cli, self.cloud.env)
        resources = sum(self.project.up().changes.values())
        things = {f"thing-{number}": {"text": "text", "opts": {"in": "group"}} for number in range(resources - 2)}
        lab.plan({"things": things})
        lab.pulumi(*_UP).check_returncode()
        return lab

    def up(self) -> float:
        """Seconds of one `pulumi up`."""
        began = time.monotonic()
        done = subprocess.run(
            ["pulumi", *_UP],
            cwd=self.project.folder,
            env=self.project.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return time.monotonic() - began


def measure_noop(stacks: Stacks, rounds: int) -> Ratio:
    lab, ours, trivial = stacks.lab(), [], []

    def up_of_the_lab() -> float:
        began = time.monotonic()
        lab.pulumi(*_UP).check_returncode()
        return time.monotonic() - began

    for number in range(rounds):
        turns = [(stacks.up, ours), (up_of_the_lab, trivial)]
        for up, seconds in turns if number % 2 else reversed(turns):  # who begins alternates
            seconds.append(up())
    return Ratio("no-op up ÷ as many trivial dynamic resources", ours, trivial, most=1.1)


def measure_scaling(stacks: Stacks, rounds: int) -> Ratio:
    changed, unchanged = [], []
    for number in range(rounds):
        unchanged.append(stacks.up())
        stacks.project.configure("scaling.maxContainers", str(3 + number % 2))
        changed.append(stacks.up())
    ratio = Ratio("scaling change ÷ no-op up", changed, unchanged, most=1.2)
    before = _warm(stacks.project)
    stacks.project.configure("scaling.maxContainers", "7")
    with stacks.project.under_load() as answers:
        stacks.up()
    if restarted := before - stacks.project.containers():
        ratio.failures.append(f"{len(restarted)} of {len(before)} replicas restarted")
    if failed := [answer for answer in answers if answer != "200"]:
        ratio.failures.append(f"{len(failed)} of {len(answers)} requests failed")
    ratio.notes.append(f"under load: {len(answers)} requests, {len(failed)} failed, {len(restarted)} restarts")
    return ratio


def measure_redeploy(stacks: Stacks, rounds: int) -> Ratio:
    """`maxConcurrency` is the scaling setting that Modal changes by a deploy alone."""
    deployed, scaled = [], []
    for number in range(min(rounds, 3)):
        stacks.project.configure("scaling.maxContainers", str(3 + number % 2))
        scaled.append(stacks.up())
        stacks.project.configure("scaling.maxConcurrency", str(40 + number))
        deployed.append(stacks.up())
    return Ratio("the same by a new version ÷ the scaling change", deployed, scaled)


def measure_full(stacks: Stacks, link: float) -> Ratio:
    project = Project(stacks.folder / "full", stacks.cloud, "full")
    project.hub.throttle(int(link * 1e6))
    try:
        began, wall = time.monotonic(), time.time()
        made = project.up()
        took = time.monotonic() - began
        if made.failed:
            raise RuntimeError(made.text)
        jobs = {**_job_seconds(stacks.cloud.dir, since=wall), "first replica": _smoke_test_seconds(project)}
    finally:
        project.hub.throttle(None)
        project.destroy()
    path = sum(jobs.values())
    ratio = Ratio("full up ÷ its critical path of jobs", [took], [path], most=1.15)
    ratio.notes.append(", ".join(f"{name} {seconds:.1f} s" for name, seconds in jobs.items()))
    ratio.notes.append(f"{took - path:.1f} s beside the jobs, however long they take")
    return ratio


def measure_download(folder: Path, cloud: LocalCloud, link: float, rounds: int) -> Ratio:
    hub = Hub(cloud.env["HF_ENDPOINT"])
    speeds: dict[str, list[float]] = {"job": [], "plain": []}
    hub.throttle(int(link * 1e6))
    try:
        for number in range(rounds):
            for how in ("job", "plain") if number % 2 else ("plain", "job"):
                place = folder / "download"
                command = [sys.executable, "-m", "benchmarks.lifecycle", "--fetch", how, str(place)]
                quiet = {**cloud.env, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
                done = subprocess.run(command, env=quiet, stdout=subprocess.PIPE, text=True, check=True)
                speeds[how].append(float(done.stdout.splitlines()[-1]))
                shutil.rmtree(place)
    finally:
        hub.throttle(None)
    return Ratio(
        f"download, MB/s ÷ plain snapshot_download, {link:g} MB/s link", speeds["job"], speeds["plain"], least=0.95
    )


def fetch(how: str, folder: Path) -> float:
    """MB/s of one download into an empty folder, in a process of its own."""
    from huggingface_hub import snapshot_download

    from serving.download import download_weights
    from serving.recipe import Recipe, load_recipe

    document = load_recipe(Path(__file__).parents[1] / "recipes" / "tiny-glm-local.yaml").to_json()
    document["volumes"]["weights"]["mountPath"] = str(folder)
    recipe, token = Recipe.model_validate(document), os.environ["HF_TOKEN"]
    began = time.monotonic()
    if how == "job":
        download_weights(recipe, "main", token=token, commit_volume=lambda: None, report=lambda _line: None)
    else:
        snapshot_download(MODEL, token=token, local_dir=folder, max_workers=recipe.download.workers)
    took = time.monotonic() - began
    files = [path.stat().st_size for path in folder.rglob("*.safetensors")]
    return sum(files) / 1e6 / took


def _warm(project: Project) -> set[str]:
    """Replicas, at least one: an idle stack has none that a change could restart."""
    answer = project.ask()
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return project.containers()


def _job_seconds(cloud: Path, *, since: float) -> dict[str, float]:
    """Of each job from spawn to end, as the local cloud has recorded it."""
    store = Store(cloud / "state" / "cloud.sqlite")
    try:
        names = {function.id: function.name for function in Table(store, "functions", Function).all()}
        done = [item for item in Table(store, "inputs", Input).all() if item.enqueued_at > since and item.ended_at]
    finally:
        store.close()
    return {
        names[item.function_id]: (item.ended_at or 0) - item.enqueued_at
        for item in done
        if names.get(item.function_id) in JOBS
    }


def _smoke_test_seconds(project: Project) -> float:
    """From the first request to a stopped app until the last right answer."""
    resources = json.loads(project.pulumi("stack", "export"))["deployment"]["resources"]
    return float(next(r["outputs"]["seconds"] for r in resources if r["urn"].endswith("::smoke-test")))


@contextmanager
def _stacks(cli: Path | None) -> Iterator[Stacks]:
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder) / "cloud")
        cloud.start()
        stacks = Stacks(Path(folder), cloud, cli)
        try:
            yield stacks
        finally:
            stacks.destroy()
            cloud.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lifecycle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--link", type=float, default=1.5, help="MB/s for full and download")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, help="write every round's figures there")
    parser.add_argument("--fetch", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fetch:
        print(fetch(options.fetch[0], Path(options.fetch[1])))
        return 0
    if (cli := real_cli()) is None and options.only != ["download"]:
        print("error: no pulumi on PATH; https://www.pulumi.com/docs/install/", file=sys.stderr)
        return 1
    print(f"{'':<58} {'median':>9} {'against':>9} {'ratio':>7}  limit")
    ratios: list[Ratio] = []
    with _stacks(cli) as stacks:
        parts: dict[str, Any] = {
            "noop": lambda: measure_noop(stacks, options.rounds),
            "scaling": lambda: measure_scaling(stacks, options.rounds),
            "redeploy": lambda: measure_redeploy(stacks, options.rounds),
            "full": lambda: measure_full(stacks, options.link),
            "download": lambda: measure_download(stacks.folder, stacks.cloud, 8 * options.link, options.rounds),
        }
        for part in options.only:
            ratios.append(parts[part]())
            print(ratios[-1].line(), *ratios[-1].notes, *ratios[-1].failures, sep="\n    ", flush=True)
    if options.json:
        options.json.write_text(json.dumps([{**vars(ratio), "ratio": ratio.median} for ratio in ratios], indent=2))
    return 0 if all(ratio.holds for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
