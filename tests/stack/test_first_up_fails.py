"""What can be wrong at the first `up`: one clear line each, and the next `up` goes on once it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.stack.project import Project

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    return new_project("faulty")


@pytest.fixture(autouse=True)
def healthy_hub(project: Project) -> Iterator[None]:
    yield
    project.hub.heal()


def test_no_token(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.environ["HF_TOKEN"] = ""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    reason = project.up().reason()
    assert "secret faulty-hf" in reason
    assert "pulumi config set --secret hfToken" in reason


def test_a_token_the_hub_refuses(project: Project) -> None:
    project.environ["HF_TOKEN"] = "hf_wrong"
    reason = project.up().reason()
    assert "token" in reason
    assert "pulumi config set --secret hfToken" in reason
    assert "hf_wrong" not in reason


def test_a_model_that_does_not_exist(project: Project) -> None:
    project.environ["HF_TOKEN"] = project.cloud.env["HF_TOKEN"]
    project.edit_recipe("model", repo="glm-serving/no-such-model")
    reason = project.up().reason()
    assert "glm-serving/no-such-model" in reason
    project.edit_recipe("model", repo="glm-serving/tiny-glm")


def test_a_shard_with_wrong_bytes(project: Project) -> None:
    project.hub.fail(match="model-00003-of-00005", kind="wrong_bytes", times=100)
    reason = project.up().reason()
    assert "model-00003-of-00005.safetensors" in reason
    assert "pulumi up" in reason


def test_an_engine_that_dies_at_load(project: Project) -> None:
    project.use_recipe(STANDIN_FAULT="die-at-load")
    fetched = project.hub.shard_bytes()
    reason = project.up().reason()
    assert reason.startswith("kernels:")  # the compilation starts the engine first
    assert "Not enough memory" in reason
    assert "pulumi up" in reason
    refetched = {name for name, sent in project.hub.shard_bytes().items() if sent > fetched.get(name, 0)}
    assert refetched == {"model-00003-of-00005.safetensors"}


def test_after_mending_up_converges(project: Project) -> None:
    project.use_recipe()
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert project.ask().status_code == 200
    assert project.up().steps == {}
