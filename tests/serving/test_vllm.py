"""vLLM's life in its container: behind the gate, the model in the Hub client's cache, no kernels compiled ahead."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.download import download_weights
from serving.errors import ServingError
from serving.log_report import LogReport
from serving.loopback import request
from serving.recipe import Recipe, load_recipe
from serving.supervisor import Supervisor
from tests.serving.conftest import API_KEY, MICRO, REPO_ROOT, RunningHub, free_port, processes_with

Make = Callable[..., Supervisor]


@pytest.fixture(scope="module")
def hub_cache(hub_process: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """HF_HOME with the small checkpoint, and its commit."""
    root = tmp_path_factory.mktemp("hf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub_process.url)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        done = download_weights(recipe_in(root, root), "main", token=hub_process.token, commit_volume=lambda: None)
    return root, done["commit"]


def recipe_in(weights: Path, caches: Path, **changes: object) -> Recipe:
    document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm52-local.yaml").to_json()
    document["model"]["repo"] = MICRO
    document["port"] = free_port()
    document["volumes"]["weights"]["mountPath"] = str(weights)
    document["volumes"]["kernels"]["mountPath"] = str(caches)
    document["engine"]["environment"]["TRITON_CACHE_DIR"] = str(caches / "triton")
    for key, value in changes.items():
        document[key] |= value
    return Recipe.model_validate(document)


@pytest.fixture
def make(hub_cache: tuple[Path, str], tmp_path: Path) -> Iterator[Make]:
    made: list[Supervisor] = []
    engines = REPO_ROOT / "local" / "engines"

    def make_supervisor(lines: list[str], fault: str = "", **changes: object) -> Supervisor:
        recipe = recipe_in(hub_cache[0], tmp_path / "caches", **changes)
        environment = {
            "HOME": str(tmp_path),
            "PATH": f"{engines / 'vllm' / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{engines / 'shared'}:{engines / 'vllm'}:{REPO_ROOT / 'tests' / 'engines'}",
            "LOCAL_IMAGE_TAG": recipe.engine.image,
            "LOCAL_GPU": "H200:8",
            "STANDIN_SPEED": "1000",
            "STANDIN_FAULT": fault,
            "VLLM_API_KEY": API_KEY,
        }
        made.append(Supervisor(recipe, hub_cache[1], "", release="7", environment=environment, out=lines.append))
        return made[-1]

    yield make_supervisor
    for supervisor in made:
        supervisor.stop()
        assert not processes_with(str(supervisor._recipe.port)), "the engine outlived its supervisor"


def test_it_starts_behind_the_gate_and_tells_its_phases(make: Make) -> None:
    lines: list[str] = []
    supervisor = make(lines)
    supervisor.start(volumes=0.5)
    port = supervisor._recipe.port
    assert lines[-1].startswith("ready in ")
    assert list(supervisor.phases) == ["volumes", "load", "graphs", "warm-up"]
    assert any("[triage] info eager: " in line for line in lines), lines
    assert not any("kernels not proven" in line for line in lines)
    report = LogReport(engine="vllm")
    report.read_all(lines)
    assert report.unknown == []
    for path in ("/metrics", "/tokenize", "/invocations", "/version", "/load", "/v1/models"):
        assert request(port, "GET", path).status == 401, f"{path} is open to anybody"
    assert request(port, "GET", "/health").status == 200
    text = request(port, "GET", "/metrics", api_key=API_KEY).body.decode()
    assert 'glm_serving_start_seconds{phase="volumes"} 0.500' in text
    assert "vllm:num_requests_running{" in text
    assert supervisor.finished_requests() >= 4
    payload = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    for model, status in (("tiny-glm-5.2@7", 200), ("tiny-glm-5.2@8", 404)):
        asked = {**payload, "model": model}
        answer = request(port, "POST", "/v1/chat/completions", payload=asked, api_key=API_KEY, timeout=20)
        assert answer.status == status
    assert not processes_with(API_KEY)
    assert not any(API_KEY in line for line in lines)


def test_without_its_weights_it_is_not_started(make: Make, hub_cache: tuple[Path, str]) -> None:
    lines: list[str] = []
    supervisor = make(lines)
    supervisor._commit = "0" * 40
    with pytest.raises(ServingError, match=r"weights: .*the download is not complete"):
        supervisor.start()
    assert not any(line.startswith("[startup] vllm serve") for line in lines)


def test_an_engine_that_dies_while_it_loads_says_why(make: Make) -> None:
    lines: list[str] = []
    supervisor = make(lines, fault="die-at-load")
    began = time.monotonic()
    with pytest.raises(ServingError, match=r"vLLM died while starting .*CUDA out of memory.*Next: lower mem-fraction"):
        supervisor.start()
    assert time.monotonic() - began < 20
