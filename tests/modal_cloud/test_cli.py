"""python -m local"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

LOCAL = [sys.executable, "-m", "local"]


def test_start_is_quick_idempotent_and_remembers_ports(own_cloud: LocalCloud) -> None:
    cloud = own_cloud
    environment = dict(cloud.env)
    assert "already running" in cloud.run([*LOCAL, "start"]).stdout
    status = cloud.run([*LOCAL, "status"]).stdout
    assert environment["MODAL_SERVER_URL"] in status
    assert environment["MODAL_TOKEN_SECRET"] not in status
    cloud.stop()
    stopped = cloud.run([*LOCAL, "status"], check=False)
    assert stopped.returncode == 3
    assert "not running" in stopped.stdout
    assert "not running" in cloud.run([*LOCAL, "stop"]).stdout
    began = time.monotonic()
    cloud.start()
    assert time.monotonic() - began < 6
    assert cloud.env == environment


def test_nothing_is_left_after_stop(own_cloud: LocalCloud) -> None:
    cloud = own_cloud
    cloud.modal("deploy", "-m", "tests.modal_cloud.apps.durable_app")
    cloud.python("import modal; modal.Function.from_name('durable', 'work').remote('x', False)")
    assert "1 container" in cloud.run([*LOCAL, "status"]).stdout
    cloud.stop()
    assert str(cloud.dir) not in Path("/proc/self/mountinfo").read_text()
    assert not list(cloud.dir.glob("containers/*"))
    for port in (cloud.env["MODAL_SERVER_URL"], cloud.env["HF_ENDPOINT"]):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port.rsplit(":", 1)[1]))) != 0


def test_a_taken_port_is_one_clear_line(own_cloud: LocalCloud) -> None:
    cloud = own_cloud
    cloud.stop()
    port = int(cloud.env["MODAL_SERVER_URL"].rsplit(":", 1)[1])
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", port))
        occupant.listen()
        failed = cloud.run([*LOCAL, "start"], check=False)
    assert failed.returncode == 1
    assert str(port) in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_hub_is_started_again(own_cloud: LocalCloud) -> None:
    cloud = own_cloud
    hub = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and _arguments(entry)[1:3] == ["-m", "local.hub"]
        and str(cloud.dir / "hub") in _arguments(entry)
    )
    os.kill(hub, signal.SIGKILL)
    port = int(cloud.env["HF_ENDPOINT"].rsplit(":", 1)[1])
    deadline = time.monotonic() + 15
    while True:
        time.sleep(0.2)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline
    assert "starting it again" in cloud.run([*LOCAL, "logs"]).stdout


def test_env_before_any_start(tmp_path: Path, cloud: LocalCloud) -> None:
    failed = cloud.run([*LOCAL, "env", "--dir", str(tmp_path / "none")], check=False)
    assert failed.returncode == 1
    assert "python -m local start" in failed.stderr
    assert failed.stdout == ""


def test_state_is_private(cloud: LocalCloud) -> None:
    assert cloud.dir.stat().st_mode & 0o077 == 0
    assert (cloud.dir / "installation.json").stat().st_mode & 0o077 == 0
    secret = json.loads((cloud.dir / "installation.json").read_text())["token_secret"]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            assert secret not in " ".join(_arguments(entry))


def _arguments(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
