"""Ctrl-C and `kill -9` of the CLI in the middle of the download: nothing is lost, nothing is fetched twice, one job
runs, and it can be stopped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.stack.project import REPOSITORY, STACK, Project
from tests.stack.terminal import Terminal

pytestmark = pytest.mark.cloud


def providers(project: Project) -> list[psutil.Process]:
    """Processes that belong to some `pulumi` of the project."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            mine = process.environ().get("PULUMI_BACKEND_URL") == project.environ["PULUMI_BACKEND_URL"]
            if mine and "pulumi.dynamic" in process.cmdline():
                found.append(process)
    return found


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    return new_project("killed", engine_speed=10)  # slow enough to be interrupted


UP = ["pulumi", "up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs", "--color", "never"]


def wait_for(seconds: float, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pipeline_containers(project: Project) -> list[str]:
    listed = json.loads(project.modal("container", "list", "--json"))
    return [row["container_id"] for row in listed if row["app_name"] == "killed-pipeline"]


@pytest.fixture(scope="module")
def fetched_before(project: Project) -> int:
    return sum(project.hub.shard_bytes().values())


def test_kill_in_the_middle_of_the_download(project: Project, fetched_before: int) -> None:
    project.hub.throttle(6_000_000)  # 64 MB take about ten seconds
    cli = subprocess.Popen(
        UP,
        cwd=project.folder,
        env={**os.environ, **project.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(60, lambda: sum(project.hub.shard_bytes().values()) > fetched_before + 10_000_000)
    assert cli.poll() is None
    assert providers(project)
    cli.send_signal(signal.SIGKILL)
    cli.wait()
    wait_for(5, lambda: not providers(project))  # they end with their CLI


def test_ctrl_c_says_what_goes_on_and_how_to_stop_it(project: Project) -> None:
    project.hub.throttle(1_000_000)  # the job runs until this `up` has found it, however slow this machine is
    project.pulumi("cancel", "--yes")
    terminal = Terminal(UP, project.folder, {**os.environ, **project.environ})
    wait_for(60, lambda: "weights: attached to the job that is already running" in terminal.printed)
    project.hub.throttle(None)
    wait_for(60, lambda: "kernels: compiling on " in terminal.printed)
    assert pipeline_containers(project)
    terminal.press_ctrl_c()
    code, printed = terminal.wait(15)
    assert code != 0
    assert "Traceback" not in printed
    assert "KeyboardInterrupt" not in printed
    told = re.search(
        r"error: DeploymentError: interrupted, but its job goes on in the cloud: `pulumi up` attaches to it again, "
        r"`python -m (components\.jobs cancel \S+ --env \S+)` stops it",
        printed,
    )
    assert told, printed
    # Nothing but what the killed `up` has left: the kernels' creation has failed, and is not in the dark.
    [state] = (project.folder / "state" / ".pulumi" / "stacks").rglob(f"{STACK}.json")
    pending = json.loads(state.read_text())["checkpoint"]["latest"].get("pending_operations") or []
    assert "kernels" not in {operation["resource"]["urn"].rsplit("::", 1)[1] for operation in pending}
    assert pipeline_containers(project)
    said = project.cloud.run([str(REPOSITORY / ".venv/bin/python"), "-m", *told[1].split()]).stdout
    assert re.search(r"^kernels/\S+: cancelled", said, re.M), said
    wait_for(30, lambda: pipeline_containers(project) == [])  # and its GPUs with it


def test_the_next_up_starts_again_what_was_cancelled_and_nothing_else(project: Project, fetched_before: int) -> None:
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert project.ask().status_code == 200
    # Other tests' stacks have fetched from the same Hub.
    assert sum(project.hub.shard_bytes().values()) - fetched_before < 1.02 * 64_500_000
    # Every run of the job, one that finds nothing to do as well, ends with a line about all files.
    logs = project.modal("app", "logs", "killed-pipeline", "--tail", "5000").splitlines()
    assert len([line for line in logs if line.startswith("weights: 13 files")]) == 1, logs
    assert project.up().steps == {}
