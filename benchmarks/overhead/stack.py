"""A stand-in engine twice: started by the supervisor as in a container, and alone, with the same flags and files."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.compile import compile_kernels
from serving.download import download_weights
from serving.engines import engine_for
from serving.loopback import request
from serving.recipe import Recipe, kernel_key, load_recipe
from serving.recipe_sections import Deadlines

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """Where requests go, and the process that answers for it (the supervisor's, or the engine's own)."""

    port: int
    model: str
    api_key: str
    pid: int


@dataclass(frozen=True)
class Prepared:
    """Weights and kernels on the disk, and what a container's environment would be."""

    recipe: Recipe
    commit: str
    key: str
    environment: dict[str, str]
    folder: Path


def prepare(recipe_name: str, folder: Path) -> Prepared:
    """Fills weights and kernels under `folder` by the product's own jobs, from a local Hub."""
    document = load_recipe(ROOT / "recipes" / f"{recipe_name}.yaml").to_json()
    variables = document["engine"]["environment"]
    for kind in ("weights", "kernels"):
        volume = document["volumes"][kind]
        for name, value in variables.items():
            variables[name] = value.replace(volume["mountPath"], str(folder / kind))
        volume["mountPath"] = str(folder / kind)
        (folder / kind).mkdir()
    # A production recipe looks after its engine as often as the defaults say; the local ones do it all the time.
    usual = Deadlines().to_json()
    document["deadlines"] |= {name: usual[name] for name in ("monitorInterval", "hang")}
    recipe = Recipe.model_validate(document)
    engines = ROOT / "local" / "engines"
    environment = {
        "PATH": f"{engines / recipe.engine.name / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": f"{engines / 'shared'}:{engines / recipe.engine.name}",
        "LOCAL_IMAGE_TAG": recipe.engine.image,
        "LOCAL_GPU": recipe.gpu.request,
        "STANDIN_SPEED": "100",
        recipe.secrets.api_key.key: secrets.token_hex(16),
    }
    quiet: dict[str, Any] = {"commit_volume": lambda: None, "report": lambda _: None}
    with _hub(folder / "hub") as (endpoint, token):
        os.environ["HF_ENDPOINT"] = endpoint
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
        commit = str(download_weights(recipe, "main", token=token, **quiet)["commit"])
    key = kernel_key(recipe, commit)
    if recipe.kernels:
        compile_kernels(recipe, commit, key, environment=environment, out=lambda _: None, **quiet)
    return Prepared(recipe, commit, key, environment, folder)


@contextmanager
def _hub(folder: Path) -> Iterator[tuple[str, str]]:
    """Endpoint and token."""
    command = [sys.executable, "-m", "local.hub", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        match = re.match(r"hub on (\S+),", process.stdout.readline())
        if match is None:
            raise RuntimeError("the local Hub did not start")
        try:
            yield match[1], (folder / "token").read_text().strip()
        finally:
            process.terminate()


@contextmanager
def supervised(prepared: Prepared) -> Iterator[Server]:
    """The engine behind everything that a serving container has: log pump, monitor, gate."""
    recipe = _on_a_free_port(prepared.recipe)
    task = {"recipe": recipe.to_json(), "commit": prepared.commit, "key": prepared.key}
    command = [sys.executable, "-m", "benchmarks.overhead.supervised"]
    environment = {**prepared.environment, "PYTHONPATH": f"{ROOT}:{prepared.environment['PYTHONPATH']}"}
    with (prepared.folder / "supervised.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        try:
            yield _wait(prepared, recipe, process, "supervised.log", "ready in ")
        finally:
            process.stdin.close()  # the sign to stop
            process.wait(timeout=30)


@contextmanager
def alone(prepared: Prepared) -> Iterator[Server]:
    """The same command without the gate. Its output goes through a pipe as well: somebody reads it in any container."""
    recipe = _on_a_free_port(prepared.recipe)
    engine = engine_for(recipe)
    api_key = prepared.environment[recipe.secrets.api_key.key]
    config = prepared.folder / "alone.yaml"
    text = engine.config_file(api_key, "")
    config.write_text(text or "")
    argv = engine.launch_command(recipe, prepared.commit)
    if "--middleware" in argv:  # vLLM's way to have the gate; SGLang's comes with the config file
        at = argv.index("--middleware")
        del argv[at : at + 2]
    environment = {
        **prepared.environment,
        **engine.engine_environment(recipe, recipe.kernel_path(prepared.key)),
        **engine.secret_environment(api_key),
    }
    with (prepared.folder / "alone.log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, *(["--config", str(config)] if text else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # as the supervisor's: Linux shares the CPU among sessions
        )
        reader = subprocess.Popen(["cat"], stdin=process.stdout, stdout=log)
        try:
            yield _wait(prepared, recipe, process, "alone.log", engine.READY_LINE.pattern)
        finally:
            process.terminate()
            process.wait(timeout=30)
            assert process.stdout is not None
            process.stdout.close()
            reader.wait(timeout=30)


def cpu_seconds(server: Server) -> float:
    """CPU time that the server's process and all below it have taken so far."""
    parents: dict[int, tuple[int, float]] = {}
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            parents[int(entry.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / ticks)
    family, grown = {server.pid}, True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sum(parents[pid][1] for pid in family if pid in parents)


def _on_a_free_port(recipe: Recipe) -> Recipe:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return Recipe.model_validate({**recipe.to_json(), "port": port})


def _wait(prepared: Prepared, recipe: Recipe, process: subprocess.Popen[bytes], log: str, ready: str) -> Server:
    """Until its log says that it is ready and /health agrees. Raises RuntimeError with the log's end."""
    deadline = time.monotonic() + _START_SECONDS
    path = prepared.folder / log
    while True:
        text = path.read_text(errors="replace")
        if re.search(ready, text) and request(recipe.port, "GET", "/health").status == 200:
            api_key = prepared.environment[recipe.secrets.api_key.key]
            return Server(recipe.port, recipe.model.served_name, api_key, process.pid)
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{log}: the engine did not get ready:\n{text[-2000:]}")
        time.sleep(0.05)
