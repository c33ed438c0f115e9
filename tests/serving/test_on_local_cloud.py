"""Both Modal apps, deployed with the real SDK onto the local cloud: from empty volumes to answers, crashes and ends."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ServingError
from serving.recipe import kernel_key
from tests.local_cloud import LocalCloud
from tests.serving.conftest import API_KEY, APP
from tests.serving.local_apps import Processes, ask, recipe_of_the_test, report_of, serve

pytestmark = pytest.mark.cloud


def call(function: str, request: dict[str, Any]) -> dict[str, Any]:
    """Result of a job; raises what the job raised."""
    import modal

    return modal.Function.from_name(f"{APP}-pipeline", function).remote(request)


def test_jobs_are_repeatable_and_fail_with_one_line(filled: tuple[LocalCloud, str]) -> None:
    _, commit = filled
    again = call("download_model", {"revision": "main", "job": "weights"})
    assert again["skipped"]
    assert again["commit"] == commit
    key = kernel_key(recipe_of_the_test(), commit)
    assert call("compile_deepgemm", {"commit": commit, "kernel_key": key, "job": "kernels"})["skipped"]
    with pytest.raises(ServingError, match="no revision 'nope'"):
        call("download_model", {"revision": "nope", "job": "weights"})
    with pytest.raises(ServingError, match=r"serving-test-kernels:/sm100-none has no \.compiled-tiny-glm"):
        call("verify_setup", {"commit": commit, "kernel_key": "sm100-none", "job": "v"})
    assert report_of("progress/weights")["line"].startswith("weights: ")


def test_a_damaged_file_on_the_volume_is_mended_alone(filled: tuple[LocalCloud, str], tmp_path: Path) -> None:
    cloud, commit = filled
    name = f"micro-glm/{commit}/model-00002-of-00007.safetensors"
    local = tmp_path / "shard"
    cloud.modal("volume", "get", f"{APP}-weights", name, str(local))
    content = bytearray(local.read_bytes())
    content[-5] ^= 1
    local.write_bytes(content)
    time.sleep(2)  # listings and file times are compared to the second
    cloud.modal("volume", "put", "--force", f"{APP}-weights", str(local), f"/{name}")
    mended = call("download_model", {"revision": "main", "job": "weights"})
    assert not mended["skipped"]
    assert len(content) <= mended["fetched_bytes"] < 2 * len(content) + 100_000
    assert call("download_model", {"revision": "main", "job": "weights"})["skipped"]


def test_the_web_ingress_from_cold_to_crash_to_stop(filled: tuple[LocalCloud, str]) -> None:
    cloud, commit = filled
    told = serve(cloud, commit, "first")
    url = re.search(r"-> (http://\S+)", told.replace("\n", ""))[1]  # type: ignore[index]
    status, answer = ask(url)
    assert (status, "4" in answer) == (200, True), answer
    assert ask(url, key="wrong")[0] == 401
    ready = report_of("ready/first")
    assert set(ready["phases"]) == {"volumes", "load", "graphs", "warm-up"}
    assert ready["requests"] >= 4
    assert ready["container"].startswith("ta-")

    # A version that cannot start takes no traffic: the old one goes on.
    serve(cloud, commit, "broken", flags={"no-such-flag": 5})
    failed = report_of("failed/broken")
    assert "unrecognized arguments: --no-such-flag" in failed["error"]
    assert ask(url)[0] == 200

    serve(cloud, commit, "second")
    assert ask(url)[0] == 200
    processes = Processes()
    server, _ = processes.engine(report_of("ready/second")["container"])
    processes.stop()
    os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while ask(url)[0] != 200:
        assert time.monotonic() < deadline, "no new container took over"
        time.sleep(0.2)
    cloud.modal("app", "stop", APP, "--yes")
    deadline = time.monotonic() + 15
    while "[shutdown] SGLang stopped after" not in (log := cloud.modal("app", "logs", APP, "--tail", "2000").stdout):
        assert time.monotonic() < deadline, log[-2000:]
        time.sleep(0.5)
    assert "[monitor] FATAL: SGLang died (code -9)" in log
    assert "ready in " in log
    assert API_KEY not in log


def test_the_server_ingress_answers_once_warm(filled: tuple[LocalCloud, str]) -> None:
    cloud, commit = filled
    import modal

    app = f"{APP}-server"
    serve(cloud, commit, "server", app=app, ingress="server")
    url = modal.Server.from_name(app, "Server").get_url()
    assert url
    deadline = time.monotonic() + 40
    while (answered := ask(url))[0] != 200:
        assert answered[0] == 503, answered
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "4" in answered[1]
    cloud.modal("app", "stop", app, "--yes")
