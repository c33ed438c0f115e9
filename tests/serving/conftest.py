"""The tiny recipe with its volumes in temporary folders, and one real Hub for the module tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.recipe import Recipe, load_recipe

REPO_ROOT = Path(__file__).resolve().parents[2]
MICRO = "glm-serving/micro-glm"

RecipeMaker = Callable[..., Recipe]


@pytest.fixture
def make_recipe(tmp_path: Path) -> RecipeMaker:
    """`make_recipe({"deadlines": {"health": 5}})`: the tiny recipe, volumes under tmp_path, some keys overridden."""

    def make(changes: dict[str, Any] | None = None) -> Recipe:
        document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm-local.yaml").to_json()
        for mount, folder in (("weights", "model-cache"), ("kernels", "dg-cache")):
            document["volumes"][mount]["mountPath"] = str(tmp_path / folder)
            (tmp_path / folder).mkdir(exist_ok=True)
        for key, value in (changes or {}).items():
            document[key] = {**document[key], **value} if isinstance(value, dict) else value
        return Recipe.model_validate(document)

    return make


@pytest.fixture
def recipe(make_recipe: RecipeMaker) -> Recipe:
    return make_recipe()


@dataclass
class RunningHub:
    url: str
    token: str

    def control(self, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/_local/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def fault(self, match: str, kind: str, **fields: object) -> None:
        self.control("POST", "faults", {"match": match, "kind": kind, **fields})

    def sent(self, repo: str = MICRO) -> dict[str, int]:
        """Bytes of content sent per file of the repository."""
        files = self.control("GET", "requests")["files"]
        return {k.removeprefix(repo + "/"): v["bytes"] for k, v in files.items() if k.startswith(repo) and v["bytes"]}


@pytest.fixture(scope="session")
def hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("hub")
    command = [sys.executable, "-m", "local.hub", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPO_ROOT)
    assert process.stdout is not None
    match = re.match(r"hub on (\S+),", process.stdout.readline())
    assert match is not None
    yield RunningHub(match[1], (folder / "token").read_text().strip())
    process.terminate()
    process.wait(timeout=10)
    process.stdout.close()


@pytest.fixture
def hub(hub_process: RunningHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningHub:
    hub_process.control("DELETE", "faults")
    hub_process.control("DELETE", "requests")
    hub_process.control("POST", "throttle", {"bytes_per_second": None})
    monkeypatch.setenv("HF_ENDPOINT", hub_process.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    os.environ.pop("HF_HUB_OFFLINE", None)
    return hub_process
