"""`kill -9` of the CLI in the middle of the download: nothing is lost, nothing is fetched twice, one job runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from tests.stack.project import STACK, Project

pytestmark = [pytest.mark.cli, pytest.mark.cloud]


def end_orphans(project: Project) -> None:
    """A killed CLI leaves its provider process behind, and that waits for ever for the CLI's next word."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get("PULUMI_BACKEND_URL") == project.environ["PULUMI_BACKEND_URL"]:
                process.kill()


def test_kill_in_the_middle_of_the_download(new_project: Callable[..., Project]) -> None:
    project = new_project("killed")
    before = project.hub.shard_bytes()
    project.hub.throttle(6_000_000)  # 64 MB take about ten seconds
    try:
        command = ["pulumi", "up", "--stack", STACK, "--yes", "--skip-preview", "--color", "never"]
        cli = subprocess.Popen(
            command,
            cwd=project.folder,
            env={**os.environ, **project.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        began = sum(before.values())
        deadline = time.monotonic() + 60
        while sum(project.hub.shard_bytes().values()) < began + 10_000_000:
            assert time.monotonic() < deadline
            assert cli.poll() is None
            time.sleep(0.1)
        cli.send_signal(signal.SIGKILL)
        cli.wait()
        project.hub.throttle(1_000_000)  # the job runs until the next `up` has found it, however slow this machine is
        project.stack.cancel()
        outcome = project.up(
            on_output=lambda line: project.hub.throttle(None) if "attached to the job" in line else None
        )
    finally:
        project.hub.throttle(None)
        end_orphans(project)
    assert not outcome.failed, outcome.text
    assert project.ask().status_code == 200
    sizes = {
        name: sent - before.get(name, 0) for name, sent in project.hub.shard_bytes().items() if name.startswith("model")
    }
    assert sum(sizes.values()) < 1.02 * 64_500_000, sizes
    assert "attached to the job that is already running" in outcome.text
    # Every run of the job, one that finds nothing to do as well, ends with a line about all files.
    ends = [
        line
        for line in project.modal("app", "logs", "killed-pipeline", "--tail", "5000").splitlines()
        if line.startswith("weights: 13 files")
    ]
    assert len(ends) == 1, ends
    assert project.up().steps == {}
