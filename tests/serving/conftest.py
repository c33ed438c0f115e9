"""The tiny recipe with its volumes in temporary folders, and one real Hub for the module tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serving.compile import compile_kernels
from serving.download import download_weights
from serving.manifest import MANIFEST
from serving.params import PARAMS_VARIABLE, PipelineParams
from serving.recipe import Recipe, kernel_key, load_recipe
from tests.local_cloud import LocalCloud

if TYPE_CHECKING:
    from tests.serving.container import Container

REPO_ROOT = Path(__file__).resolve().parents[2]
MICRO = "glm-serving/micro-glm"
API_KEY = "k3y-that-nobody-may-see"
APP = "serving-test"
DICT = f"{APP}-jobs"

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


# Engines ------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def container_environment() -> dict[str, str]:
    """What a container of the serving image has: the engine stand-in as module `sglang`, `python3` on PATH."""
    engines = REPO_ROOT / "local" / "engines"
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{engines / 'shared'}:{engines / 'sglang'}",
        "LOCAL_IMAGE_TAG": "lmsysorg/sglang:v0.5.10.post1",
        "LOCAL_GPU": "B200:8",
        "STANDIN_SPEED": "100",
        "API_KEY": API_KEY,
    }


@pytest.fixture(scope="session")
def downloaded(hub_process: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights volume with the small checkpoint, to copy from."""
    root = tmp_path_factory.mktemp("weights")
    document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm-local.yaml").to_json()
    document["volumes"]["weights"]["mountPath"] = str(root)
    document["model"]["repo"] = MICRO
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub_process.url)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        arguments: dict[str, Any] = {"token": hub_process.token, "commit_volume": lambda: None}
        download_weights(Recipe.model_validate(document), "main", **arguments)
    return root


@dataclass
class Stack:
    """A recipe whose weights are on its volume, and what to serve of it."""

    recipe: Recipe
    commit: str
    key: str


@pytest.fixture
def make_stack(make_recipe: RecipeMaker, downloaded: Path) -> Callable[..., Stack]:
    """`make_stack({...changes of the recipe...})`: weights in place, no kernels yet, a port of its own."""

    def make(changes: dict[str, Any] | None = None) -> Stack:
        recipe = make_recipe({"port": free_port(), **(changes or {}), "model": {"repo": MICRO}})
        root = Path(recipe.volumes.weights.mount_path)
        shutil.copytree(downloaded, root, dirs_exist_ok=True, copy_function=shutil.copy2)
        commit = next(root.glob(f"*/*/{MANIFEST}")).parent.name
        return Stack(recipe, commit, kernel_key(recipe, commit))

    return make


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    return make_stack()


@pytest.fixture
def compiled(
    tmp_path_factory: pytest.TempPathFactory, container_environment: dict[str, str]
) -> Callable[[Stack], None]:
    """`compiled(stack)` puts a complete kernel artifact in place: really compiled at the first call, copied after."""

    def put(stack: Stack) -> None:
        folder = Path(stack.recipe.kernel_path(stack.key))
        if stack.key not in _ARTIFACTS:
            quiet: dict[str, Any] = {"report": lambda _: None, "out": lambda _: None, "commit_volume": lambda: None}
            compile_kernels(stack.recipe, stack.commit, stack.key, environment=container_environment, **quiet)
            _ARTIFACTS[stack.key] = tmp_path_factory.mktemp("kernels") / stack.key
            shutil.copytree(folder, _ARTIFACTS[stack.key])
        else:
            shutil.copytree(_ARTIFACTS[stack.key], folder)

    return put


_ARTIFACTS: dict[str, Path] = {}


@pytest.fixture(scope="session")
def filled(cloud: LocalCloud) -> tuple[LocalCloud, str]:
    """The cloud after `modal run -m serving.apps.pipeline` by hand, and the commit that it brought."""
    from tests.serving.local_apps import recipe_of_the_test

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


def processes_with(text: str) -> list[int]:
    """Pids of processes whose arguments contain `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text in (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def make(
    make_stack: Callable[..., Stack], compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> Iterator[Callable[..., Container]]:
    """`make({...changes of the recipe...}, flags={...}, environment={...})`: a container that has not started yet."""
    from tests.serving.container import Container

    containers: list[Container] = []

    def make_container(
        changes: dict[str, Any] | None = None,
        flags: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        with_kernels: bool = True,
    ) -> Container:
        stack = make_stack(changes)
        if with_kernels:
            compiled(stack)
        stack.recipe = stack.recipe.with_engine_args(flags or {})
        containers.append(Container(stack, {**container_environment, **(environment or {})}))
        return containers[-1]

    yield make_container
    for container in containers:
        container.supervisor.stop()
        assert not container.engine_pids(), "the engine outlived its supervisor"
