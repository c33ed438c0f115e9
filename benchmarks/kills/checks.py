"""What must hold once a stack stands again, and once it is destroyed. Each check returns what is wrong, in words."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.kills import victims
from benchmarks.kills.cloud_state import CloudState, JobCall
from benchmarks.kills.trial import Killed, Trial, state_of
from tests.leaks import SecretSearch
from tests.stack.project import Project

JOBS_THAT_WORK_ONCE = ("download_model", "compile_deepgemm")
DRAIN_SECONDS = 45.0


def stands(project: Project) -> list[str]:
    """It answers, and one more `up` has nothing to do."""
    wrong = []
    answer = project.ask()
    if answer.status_code != 200 or "4" not in answer.text:
        wrong.append(f"it answers {answer.status_code}: {answer.text[:200]}")
    outcome = project.up()
    if outcome.failed or outcome.steps:
        wrong.append(f"another up: {outcome.steps or outcome.text[-500:]}")
    return wrong


def nothing_twice(project: Project) -> list[str]:
    name, state = project.name, state_of(project)
    wrong = []
    for what, there, expected in (
        ("volumes", state.volumes, [f"{name}-kernels", f"{name}-weights"]),
        ("secrets", state.secrets, [f"{name}-hf", f"{name}-key"]),
        ("dicts", state.dicts, [f"{name}-jobs"]),
        ("apps", state.apps, [name, f"{name}-pipeline"]),
    ):
        if there != expected:
            wrong.append(f"{what}: {there} instead of {expected}")
    deadline = time.monotonic() + DRAIN_SECONDS
    # One replica serves; a job's container, or a version before, ends within seconds.
    while len(containers := CloudState(project.cloud.dir).containers()) != 1 and time.monotonic() < deadline:
        time.sleep(0.3)
    if [place.split("/")[0] for place in containers] != [name]:
        wrong.append(f"containers: {containers} instead of one replica")
    return wrong + repeated(state.jobs(f"{name}-pipeline"))


def repeated(jobs: list[JobCall]) -> list[str]:
    """Work that was done again although a call had done it."""
    wrong = []
    for function in JOBS_THAT_WORK_ONCE:
        did = [job for job in jobs if job.function == function and job.worked]
        if len(did) > 1:
            wrong.append(f"{function} did its work {len(did)} times")
    unfinished = [job.function for job in jobs if job.status == "unfinished"]
    return wrong + [f"{function} still runs" for function in unfinished]


def downloads(project: Project, kills: list[Killed]) -> list[str]:
    """Files that were on the volume when something was killed, and were fetched again."""
    sent = project.hub.completed()
    return [
        f"{name} was fetched again after it had been on the volume"
        for killed in kills
        for name, times in killed.committed.items()
        if sent[name] > times
    ]


def nothing_left(project: Project) -> list[str]:
    """After `destroy`: the Hub's secret, which other stacks may use, is all that stays."""
    wrong = []
    deadline = time.monotonic() + DRAIN_SECONDS
    while (state := state_of(project)).containers() and time.monotonic() < deadline:
        time.sleep(0.3)
    for what, there in (
        ("containers", state.containers()),
        ("volumes", state.volumes),
        ("dicts", state.dicts),
        ("apps", state.apps),
        ("secrets", [name for name in state.secrets if name != f"{project.name}-hf"]),
        (
            "processes",
            [" ".join(process.cmdline()) for process in victims.of_backend(f"file://{project.folder}/state")],
        ),
    ):
        if there:
            wrong.append(f"{what} left after destroy: {there}")
    return wrong


def nothing_runs(cloud: Path) -> list[str]:
    """After the cloud itself was stopped."""
    deadline = time.monotonic() + 10
    while (left := victims.of_cloud(cloud)) and time.monotonic() < deadline:
        time.sleep(0.2)
    wrong = [f"a process left: {' '.join(process.cmdline())[:200]}" for process in left]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(cloud) in line]
    return wrong + [f"a mount left: {line}" for line in mounts]


def leaks(search: SecretSearch, trial: Trial) -> list[str]:
    search.text("the output of `pulumi up`", "\n".join(trial.printed))
    search.state(trial.project.folder / "state")
    search.cloud(trial.project.cloud.dir)
    return search.found
