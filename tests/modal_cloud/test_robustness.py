"""The cloud is killed at random moments, and two of them run side by side: nothing is lost, mixed up or left over."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.leftovers import left_over
from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

KILLS = 3
# Writes down what was acknowledged, and only that. An operation that fails is followed by the next.
WRITER = """
import io, time
import modal

notes = modal.Dict.from_name("acknowledged", create_if_missing=True)
files = modal.Volume.from_name("acknowledged", create_if_missing=True, version=2)
work = modal.Function.from_name("durable", "work")
number = 0
while True:
    number += 1
    time.sleep(0.03)
    try:
        if number % 3 == 0:
            notes[number] = f"note {number}"
            done = "note"
        elif number % 3 == 1:
            with files.batch_upload() as upload:
                upload.put_file(io.BytesIO(b"%d " % number * 1000), f"/{number}")
            done = "file"
        else:
            done = "call " + work.spawn(f"key-{number}", False).object_id
    except Exception as error:
        print("failed", number, type(error).__name__, flush=True)
    else:
        print("done", number, done, flush=True)
"""
READER = """
import json, sys
import modal

lost = []
notes = modal.Dict.from_name("acknowledged")
files = modal.Volume.from_name("acknowledged")
there = {entry.path: entry.size for entry in files.listdir("/")}
for number, kind, *more in json.load(sys.stdin):
    if kind == "note":
        good = notes.get(number) == f"note {number}"
    elif kind == "file":
        content = b"%d " % number * 1000
        good = there.get(str(number)) == len(content) and b"".join(files.read_file(str(number))) == content
    else:
        good = modal.FunctionCall.from_id(more[0]).get(timeout=60) == f"key-{number}"
    if not good:
        lost.append((number, kind))
print(json.dumps(lost))
"""


@pytest.mark.long
def test_kills_at_random_moments_lose_nothing(own_cloud: LocalCloud, tmp_path: Path) -> None:
    cloud, dice = own_cloud, random.Random(8)
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    said = tmp_path / "said"
    with said.open("w") as stream:
        writer = subprocess.Popen([sys.executable, "-c", WRITER], env=cloud.env, stdout=stream, stderr=stream)
    try:
        for _ in range(KILLS):
            before = said.read_text().count("done")
            _until(lambda before=before: said.read_text().count("done") > before + 3, "the writer does not go on")
            time.sleep(dice.uniform(0.0, 0.5))
            pid = json.loads((cloud.dir / "daemon.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            _until(lambda pid=pid: _ended(pid), "it does not die")
            cloud.start()
    finally:
        writer.terminate()
        writer.wait(10)
    lines = [line.split() for line in said.read_text().splitlines()]
    acknowledged = [(int(number), *more) for word, number, *more in lines if word == "done"]
    kinds = {kind for _, kind, *_ in acknowledged}
    assert kinds == {"note", "file", "call"}, said.read_text()[-2000:]
    read = subprocess.run(
        [sys.executable, "-c", READER],
        env=cloud.env,
        input=json.dumps(acknowledged),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == []
    cloud.stop()
    with contextlib.closing(sqlite3.connect(cloud.dir / "state" / "cloud.sqlite")) as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert left_over(cloud.dir) == []


def test_two_side_by_side_and_nothing_left_of_one(cloud: LocalCloud, own_cloud: LocalCloud) -> None:
    own_cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    own_cloud.modal("volume", "create", "of-the-second")
    own_cloud.python(
        "import modal; modal.Function.from_name('durable', 'work').spawn('waits', True)\n"
        "import time; notes = modal.Dict.from_name('durable-notes', create_if_missing=True)\n"
        "while not notes.get('waits'): time.sleep(0.05)"
    )
    first, second = _status(cloud), _status(own_cloud)
    assert "of-the-second" in [volume["name"] for volume in second["volumes"]]
    assert "of-the-second" not in [volume["name"] for volume in first["volumes"]]
    assert {each["id"] for each in first["apps"]}.isdisjoint(each["id"] for each in second["apps"])
    stranger = {name: cloud.env[name] for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")}
    refused = own_cloud.modal("volume", "list", check=False, env=stranger)
    assert refused.returncode == 1
    assert "Token ID or secret unknown to the local cloud" in refused.stdout + refused.stderr
    found = left_over(own_cloud.dir)
    assert any(each.startswith("process") for each in found), "the search would find something"
    assert any(each.startswith("mount") for each in found)
    assert any(each.endswith("/runtime/rpc") for each in found)  # a container's socket
    assert any(each.startswith("listener") for each in found)
    own_cloud.stop()
    assert left_over(own_cloud.dir) == []
    assert _status(cloud)["process"]["pid"] == first["process"]["pid"]


def _status(cloud: LocalCloud) -> Any:
    return json.loads(cloud.run([sys.executable, "-m", "local", "status", "--json"]).stdout)


def _ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _until(true: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
