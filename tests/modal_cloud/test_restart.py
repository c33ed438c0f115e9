"""What was acknowledged survives a restart and a kill -9 of the cloud."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
import pytest

from tests.leftovers import left_over
from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

CLIENT = """
import time
import modal

notes = modal.Dict.from_name("durable-notes", create_if_missing=True)
spawn = lambda name, *args: modal.Function.from_name("durable", name).spawn(*args).object_id
get = lambda call_id, timeout=30: modal.FunctionCall.from_id(call_id).get(timeout=timeout)

def wait_for(*keys):
    deadline = time.monotonic() + 30
    while not all(notes.get(key) for key in keys):
        assert time.monotonic() < deadline, keys
        time.sleep(0.05)
"""


def client(cloud: LocalCloud, code: str) -> list[str]:
    """Words printed by a program that has the functions above."""
    return cloud.python(CLIENT + code).stdout.split()


def kill(cloud: LocalCloud) -> None:
    """Of the daemon alone, as an out-of-memory killer would."""
    pid = json.loads((cloud.dir / "daemon.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)


@pytest.mark.parametrize("end", [pytest.param("stop", marks=pytest.mark.long), "kill"])
def test_calls_and_objects_survive(own_cloud: LocalCloud, end: str) -> None:
    survives(own_cloud, end)


def survives(cloud: LocalCloud, end: str) -> None:
    before = dict(cloud.env)
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    cloud.modal("secret", "create", "kept", "A=1")
    done_id, running_id, queued_id, retried_id = client(
        cloud,
        """
modal.Queue.from_name("durable-queue", create_if_missing=True).put_many(["first", "second"])
done = spawn("work", "done", False)
get(done)
print(done, spawn("work", "running", True), spawn("work", "queued", False), spawn("second_try", "retried"))
wait_for("running", "retried")
""",
    )
    kill(cloud) if end == "kill" else cloud.stop()
    deadline = time.monotonic() + 10
    while left := [each for each in left_over(cloud.dir) if each.startswith(("process", "mount"))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    cloud.start()
    assert cloud.env == before
    answers = client(
        cloud,
        f"""
notes["go"] = True
print(get({done_id!r}, 0), *map(get, {[running_id, queued_id, retried_id]!r}))
print(*map(notes.get, ["done", "running", "queued", "retried"]))
print(*modal.Queue.from_name("durable-queue").get_many(2))
""",
    )
    assert answers[:4] == ["done", "running", "queued", "second"]
    # What was interrupted ran again; the others ran as often as they had to.
    assert answers[4:8] == ["1", "2", "1", "2"]
    assert answers[8:] == ["first", "second"]
    assert "kept" in cloud.modal("secret", "list").stdout
    listing = cloud.modal("volume", "ls", "durable-volume").stdout
    assert all(name in listing for name in ("done", "running", "queued"))
    assert "durable" in cloud.modal("app", "list").stdout
