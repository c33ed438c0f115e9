"""SGLang and vLLM side by side in one cloud, and one stack that moves to other GPUs while it serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from tests.stack.project import Project

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def sglang(new_project: Callable[..., Project]) -> Project:
    return new_project("on-sglang")


@pytest.fixture(scope="module")
def vllm(new_project: Callable[..., Project]) -> Project:
    return new_project("on-vllm", "tiny-glm52-local")


def test_both_come_up_at_once_and_answer(sglang: Project, vllm: Project) -> None:
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(Project.up, (sglang, vllm)))
    assert [outcome.failed for outcome in outcomes] == [False, False], "\n".join(o.text for o in outcomes)
    assert outcomes[1].changes == {"create": 13}  # vLLM compiles nothing ahead: there are no kernels
    for project in (sglang, vllm):
        answer = project.ask()
        assert answer.status_code == 200, answer.text
        assert "4" in answer.json()["choices"][0]["message"]["content"]
        assert project.ask(key="wrong").status_code == 401
        assert project.up().steps == {}


def test_vllm_reads_the_hub_cache_and_its_key_from_the_environment(vllm: Project) -> None:
    outputs = vllm.outputs()
    folder = f"hub/models--glm-serving--tiny-glm/snapshots/{outputs['commit']}"
    assert "model.safetensors.index.json" in vllm.modal("volume", "ls", "on-vllm-weights", folder)
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # processes end while we look
            lines.append(path.read_bytes())
    serving = [line for line in lines if b"serve\0glm-serving/tiny-glm\0--revision" in line]
    assert serving
    assert all(f"--revision\0{outputs['commit']}\0".encode() in line for line in serving)
    assert not any(outputs["apiKey"].encode() in line for line in lines)
    assert outputs["apiKey"] not in vllm.modal("app", "logs", "on-vllm", "--tail", "5000")


@pytest.mark.long
def test_another_flag_is_another_release_of_vllm_and_no_request_is_lost(vllm: Project) -> None:
    def names() -> list[str]:
        outputs = vllm.outputs()
        headers = {"Authorization": f"Bearer {outputs['apiKey']}"}
        answer = requests.get(f"{outputs['url']}/v1/models", headers=headers, timeout=60)
        return [model["id"] for model in answer.json()["data"]]

    (before,) = [name for name in names() if "@" in name]
    vllm.configure("engineArgs.max-num-seqs", "16")
    with vllm.under_load() as answers:
        outcome = vllm.up()
    assert not outcome.failed, outcome.text
    assert set(outcome.steps) == {"pipeline", "app", "smoke-test", "release-record"}, outcome.text
    assert "log-probabilities 0.000 lower on average than release" in outcome.text
    assert "is on record in volume on-vllm-weights, releases/on-vllm/" in outcome.text  # beside the Hub's cache
    assert set(answers) == {"200"}, Counter(answers)
    assert before not in names()


@pytest.mark.long
def test_other_gpus_get_other_kernels_and_the_same_weights_while_the_stack_serves(sglang: Project) -> None:
    fetched, key = sglang.hub.shard_bytes(), sglang.outputs()["kernelKey"]
    assert key.startswith("sm100-")
    sglang.base = "tiny-glm-local-h200"
    sglang.use_recipe()
    with sglang.under_load() as answers:
        outcome = sglang.up()
    assert not outcome.failed, outcome.text
    assert set(outcome.steps) == {"pipeline", "kernels", "verification", "app", "smoke-test", "release-record"}, (
        outcome.text
    )
    assert "log-probabilities 0.000 lower on average than release" in outcome.text  # other GPUs answer no worse
    assert set(answers) == {"200"}, Counter(answers)
    assert sglang.hub.shard_bytes() == fetched
    now = sglang.outputs()["kernelKey"]
    assert now.startswith("sm90-")
    listed = sglang.modal("volume", "ls", "on-sglang-kernels")
    assert now in listed
    assert key not in listed
    assert sglang.up().steps == {}
