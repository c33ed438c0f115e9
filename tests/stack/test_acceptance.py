"""The acceptance run against the local cloud, and kills: its first `up` is killed, and twice more the ones after it.

benchmarks/kills kills at many more moments, chosen at random.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from benchmarks.kills import checks
from benchmarks.kills.trial import Trial
from infra.acceptance.stack import changed
from infra.acceptance.steps import STEPS
from tests.leaks import SecretSearch
from tests.local_cloud import LocalCloud
from tests.stack.project import STACK, Project

pytestmark = [pytest.mark.cloud, pytest.mark.long]

NAMES = [step.name for step in STEPS]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """In a cloud of its own: what is there twice, or left, is counted over all of it."""
    cloud = LocalCloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    made = Project(tmp_path_factory.mktemp("project") / "accept", cloud, "accept")
    made.configure("retainWeights", "false")
    yield made
    cloud.stop()


@pytest.fixture(scope="module")
def search(project: Project) -> Iterator[SecretSearch]:
    found = SecretSearch({"Hub token": project.cloud.env["HF_TOKEN"]})
    with found.watching_arguments():
        yield found


def started(project: Project, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.acceptance", STACK, "--project", str(project.folder)],
        env={**os.environ, **project.environ, "PYTHONUNBUFFERED": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_nothing_happens_before_the_cost_was_said_and_somebody_agreed(project: Project) -> None:
    process = started(project)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    for step in STEPS:
        assert re.search(rf"^  {step.name} .*; cost: \S", printed, re.M), printed
    assert "at most $" in printed
    assert "error: preview: nobody is there to be asked; YES=1 does not ask" in printed
    assert "accept" not in project.modal("volume", "list")


def test_a_step_that_does_not_exist(project: Project) -> None:
    process = started(project, FROM="lunch")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed == f"error: there is no step lunch; FROM is one of {', '.join(NAMES)}\n"


def test_a_killed_up_stops_the_run_and_says_how_to_take_it_up(project: Project, search: SecretSearch) -> None:
    process = started(project, YES="1")
    printed = ""
    for line in process.stdout or ():
        printed += line
        if "ModelWeights weights creating" in line:
            for child in psutil.Process(process.pid).children():
                child.kill()
    process.wait(60)
    assert process.returncode == 1
    assert "preview: passed" in printed
    assert f"make acceptance STACK={STACK} FROM=up" in printed
    assert "Traceback" not in printed


def test_whatever_else_is_killed_up_converges_and_nothing_is_there_twice(
    project: Project, search: SecretSearch
) -> None:
    trial = Trial(project, seed=0)
    moments = (("provider", "kernels: compiling on "), ("container", "smoke test: starting a replica"))
    for target, moment in moments:
        trial.up_and_kill(target, moment)
    if trial.recovery.last_exit:
        trial.converge()
    assert trial.recovery.problems == []
    assert trial.recovery.locks == 1  # of the CLI that was killed first
    assert [killed.target for killed in trial.recovery.kills] == [target for target, _ in moments]
    assert checks.nothing_twice(project) == []
    assert checks.downloads(project, trial.recovery.kills) == []
    search.add("API key", project.outputs()["apiKey"])
    search.text("an `up`", "\n".join(trial.printed))


def test_taken_up_it_goes_to_its_end_and_nothing_is_left(project: Project, search: SecretSearch) -> None:
    printed = ""
    process = started(project, YES="1", FROM="up")
    for line in process.stdout or ():
        printed += line
        if line.startswith("key-rotation: passed"):
            search.add("API key after its rotation", project.outputs()["apiKey"])
    process.wait(60)
    assert process.returncode == 0, printed
    assert re.findall(r"^(\S+): passed after", printed, re.M) == NAMES[1:]
    assert f"accepted: {len(NAMES) - 1} steps" in printed
    assert checks.nothing_left(project) == []
    search.text("what the acceptance run printed", printed)


def test_no_secret_was_seen_anywhere(project: Project, search: SecretSearch) -> None:
    search.look_at_arguments()
    search.folder(project.folder / ".acceptance")
    search.state(project.folder / "state")
    search.cloud(project.cloud.dir)
    assert search.found == []


def test_what_an_up_has_changed_is_read_from_its_last_lines() -> None:
    assert not changed("Resources:\n    13 unchanged\n\nDuration: 2s\n")
    assert changed("Resources:\n    ~ 1 updated\n    12 unchanged\n\nDuration: 3s\n")
