"""What was acknowledged survives a restart and a kill -9 of the cloud."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

SPAWN = """
import modal
for name, args in {calls!r}:
    print(modal.Function.from_name("durable", name).spawn(*args).object_id)
"""


def spawn(cloud: LocalCloud, *calls: tuple[str, tuple[object, ...]]) -> list[str]:
    return cloud.python(SPAWN.format(calls=list(calls))).stdout.split()


def result(cloud: LocalCloud, call_id: str, timeout: float = 30) -> str:
    code = f"import modal; print(modal.FunctionCall.from_id({call_id!r}).get(timeout={timeout}))"
    return cloud.python(code).stdout.strip()


def note(cloud: LocalCloud, key: str) -> int:
    code = f"import modal; print(modal.Dict.from_name('durable-notes').get({key!r}, 0))"
    return int(cloud.python(code).stdout)


def wait_for_note(cloud: LocalCloud, key: str) -> None:
    deadline = time.monotonic() + 30
    while not note(cloud, key):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill(cloud: LocalCloud) -> None:
    """Of the daemon alone, as an out-of-memory killer would."""
    pid = json.loads((cloud.dir / "daemon.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)


def left_over(cloud: LocalCloud) -> list[str]:
    """Processes and mounts that have to do with this cloud."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        arguments, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if process.pid == os.getpid() or environment.get("LOCAL_DIR") == "":
            continue
        if str(cloud.dir) in " ".join(arguments) or str(cloud.dir) in environment.get("MODAL_SERVER_URL", ""):
            found.append(f"process {process.pid}: {' '.join(arguments)}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if str(cloud.dir) in line]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_calls_and_objects_survive(own_cloud: LocalCloud, end: str) -> None:
    cloud = own_cloud
    before = dict(cloud.env)
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    cloud.modal("secret", "create", "kept", "A=1")
    (done_id,) = spawn(cloud, ("work", ("done", 0)))
    assert result(cloud, done_id) == "done"
    running_id, queued_id, retried_id = spawn(
        cloud, ("work", ("running", 2)), ("work", ("queued", 0)), ("second_try", ("retried",))
    )
    wait_for_note(cloud, "running")
    wait_for_note(cloud, "retried")
    kill(cloud) if end == "kill" else cloud.stop()
    deadline = time.monotonic() + 10
    while left := left_over(cloud):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    cloud.start()
    assert cloud.env == before
    assert result(cloud, done_id, 0) == "done"
    assert result(cloud, running_id) == "running"
    assert result(cloud, queued_id) == "queued"
    assert result(cloud, retried_id) == "second"
    # Interrupted once: it ran twice. The others ran as often as they had to.
    assert [note(cloud, key) for key in ("done", "running", "queued", "retried")] == [1, 2, 1, 2]
    assert "kept" in cloud.modal("secret", "list").stdout
    listing = cloud.modal("volume", "ls", "durable-volume").stdout
    assert all(name in listing for name in ("done", "running", "queued"))
    assert "durable" in cloud.modal("app", "list").stdout


def test_clients_wait_through_a_restart(own_cloud: LocalCloud) -> None:
    cloud = own_cloud
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    (call_id,) = spawn(cloud, ("work", ("long", 4)))
    wait_for_note(cloud, "long")
    import subprocess
    import sys

    code = f"import modal; print(modal.FunctionCall.from_id({call_id!r}).get(timeout=60))"
    with subprocess.Popen([sys.executable, "-c", code], env=cloud.env, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(1.5)
        kill(cloud)
        cloud.start()
        assert waiting.stdout is not None
        assert waiting.stdout.read().strip() == "long"
