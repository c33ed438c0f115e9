"""Both Modal apps, deployed with the real SDK onto the local cloud: from empty volumes to answers, crashes and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE, PipelineParams, Scaling, ServerParams
from serving.recipe import Recipe, kernel_key, load_recipe
from tests.local_cloud import LocalCloud
from tests.serving.conftest import API_KEY, MICRO, REPO_ROOT

pytestmark = pytest.mark.cloud

APP = "serving-test"
DICT = f"{APP}-jobs"


def recipe_of_the_test(flags: dict[str, Any] | None = None) -> Recipe:
    document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm-local.yaml").to_json()
    document["app"] = APP
    document["model"]["repo"] = MICRO
    document["engine"]["environment"]["STANDIN_SPEED"] = "100"
    for kind in ("weights", "kernels"):
        document["volumes"][kind]["name"] = f"{APP}-{kind}"
    document["secrets"]["huggingFace"]["name"] = f"{APP}-hf"
    document["secrets"]["apiKey"]["name"] = f"{APP}-key"
    return Recipe.model_validate(document).with_engine_args(flags or {})


@pytest.fixture(scope="module")
def filled(cloud: LocalCloud) -> tuple[LocalCloud, str]:
    """The cloud after `modal run -m serving.apps.pipeline` by hand, and the commit that it brought."""
    cloud.modal("secret", "create", f"{APP}-hf", f"HF_TOKEN={cloud.env['HF_TOKEN']}")
    cloud.modal("secret", "create", f"{APP}-key", f"API_KEY={API_KEY}")
    params = PipelineParams(app=f"{APP}-pipeline", jobs_dict=DICT, recipe=recipe_of_the_test())
    environment = {PARAMS_VARIABLE: params.model_dump_json(by_alias=True)}
    done = cloud.modal("run", "-m", "serving.apps.pipeline", env=environment)
    said = re.search(rf"weights: {MICRO}@([0-9a-f]{{40}})", done.stdout)
    assert said, done.stdout
    assert "verified: 7 shards" in done.stdout
    assert cloud.env["HF_TOKEN"] not in done.stdout
    # The deployed app is what a stack spawns jobs on.
    cloud.modal("deploy", "-m", "serving.apps.pipeline", env=environment)
    return cloud, said[1]


def call(function: str, request: dict[str, Any]) -> dict[str, Any]:
    """Result of a job; raises what the job raised."""
    import modal

    return modal.Function.from_name(f"{APP}-pipeline", function).remote(request)


def report_of(key: str, seconds: float = 30) -> dict[str, Any]:
    """What a container wrote into the stack's Dict under `key`, once it is there."""
    import modal

    reports = modal.Dict.from_name(DICT, create_if_missing=True)
    deadline = time.monotonic() + seconds
    while not (report := reports.get(key)):
        assert time.monotonic() < deadline, f"no {key} within {seconds} s"
        time.sleep(0.1)
    return report


def serve(cloud: LocalCloud, commit: str, release: str, flags: dict[str, Any] | None = None, **more: Any) -> str:
    """Deploys the serving app; returns what the deploy printed."""
    recipe = recipe_of_the_test(flags)
    params = ServerParams(
        app=more.pop("app", APP),
        release=release,
        jobs_dict=DICT,
        recipe=recipe,
        commit=commit,
        # A flag that the engine refuses must not look like other kernels.
        kernel_key=kernel_key(recipe_of_the_test(), commit),
        scaling=Scaling(max_containers=2, target_concurrency=8),
        **more,
    )
    environment = {PARAMS_VARIABLE: params.model_dump_json(by_alias=True)}
    return cloud.modal("deploy", "-m", "serving.apps.server", env=environment).stdout


def ask(url: str, key: str = API_KEY) -> tuple[int, str]:
    """Status and text of one chat completion; 0 where the connection failed."""
    body = {"model": "tiny-glm", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 64}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            return response.status, json.load(response)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def engines_of(checkpoint: str) -> list[int]:
    """Pids (as the host sees them) of the engines that serve this checkpoint, without their workers."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if b"sglang.launch_server" in words and checkpoint.encode() in words:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return [pid for pid, parent in parents.items() if parent not in parents]


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
    assert set(ready["phases"]) == {"checks", "load", "warm-up"}
    assert ready["requests"] >= 4
    assert ready["container"].startswith("ta-")

    # A version that cannot start takes no traffic: the old one goes on.
    serve(cloud, commit, "broken", flags={"no-such-flag": 5})
    failed = report_of("failed/broken")
    assert "unrecognized arguments: --no-such-flag" in failed["error"]
    assert ask(url)[0] == 200

    serve(cloud, commit, "second")
    report_of("ready/second")
    assert ask(url)[0] == 200
    deadline = time.monotonic() + 30
    while len(engines := engines_of(f"micro-glm/{commit}")) != 1:  # the old version's is on its way out
        assert time.monotonic() < deadline, engines
        time.sleep(0.1)
    os.kill(engines[0], signal.SIGKILL)
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
