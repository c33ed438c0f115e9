"""The engines' stand-ins as production starts them, by the supervisor, for the examples to ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.compile import compile_kernels
from serving.download import download_weights
from serving.recipe import Recipe, kernel_key, load_recipe
from serving.supervisor import Supervisor
from tests.serving.conftest import API_KEY, REPO_ROOT, RunningHub, free_port, hub_process

__all__ = ["hub_process"]  # the fixture

RECIPES = {"sglang": "tiny-glm-local", "vllm": "tiny-glm52-local"}


@dataclass
class Served:
    """A warm engine, and what an example finds in its environment."""

    engine: str
    recipe: Recipe
    environment: dict[str, str]


@pytest.fixture(scope="module", params=sorted(RECIPES))
def served(
    request: pytest.FixtureRequest, hub_process: RunningHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    engine = request.param
    recipe = _recipe(RECIPES[engine], tmp_path_factory.mktemp(engine))
    commit = _download(recipe, hub_process)
    container = _container_environment(recipe)
    key = kernel_key(recipe, commit)
    if recipe.kernels:
        quiet: dict[str, Any] = {"report": lambda _: None, "out": lambda _: None, "commit_volume": lambda: None}
        compile_kernels(recipe, commit, key, environment=container, **quiet)
    lines: list[str] = []
    supervisor = Supervisor(recipe, commit, key, environment=container, out=lines.append, die=lambda: None)
    supervisor.start()
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    yield Served(
        engine,
        recipe,
        {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{recipe.port}/v1",
            "OPENAI_API_KEY": API_KEY,
            "MODEL": recipe.model.served_name,
            "NO_PROXY": "127.0.0.1",
            "PYTHONIOENCODING": "utf-8",
        },
    )
    supervisor.stop()


def _recipe(name: str, root: Path) -> Recipe:
    document = load_recipe(REPO_ROOT / "recipes" / f"{name}.yaml").to_json()
    document["port"] = free_port()
    for kind, volume in document["volumes"].items():
        if volume:
            # What the engine caches beside its kernels is under the same mount point.
            variables = document["engine"]["environment"]
            for name, value in variables.items():
                variables[name] = value.replace(volume["mountPath"], str(root / kind))
            volume["mountPath"] = str(root / kind)
            (root / kind).mkdir()
    return Recipe.model_validate(document)


def _download(recipe: Recipe, hub: RunningHub) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        arguments: dict[str, Any] = {"token": hub.token, "commit_volume": lambda: None}
        return str(download_weights(recipe, "main", **arguments)["commit"])


def _container_environment(recipe: Recipe) -> dict[str, str]:
    engines = REPO_ROOT / "local" / "engines"
    return {
        "PATH": f"{engines / recipe.engine.name / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "PYTHONPATH": f"{engines / 'shared'}:{engines / recipe.engine.name}",
        "LOCAL_IMAGE_TAG": recipe.engine.image,
        "LOCAL_GPU": recipe.gpu.request,
        "STANDIN_SPEED": "100",
        recipe.secrets.api_key.key: API_KEY,
    }
