"""vLLM's stand-in as a container starts it: `vllm serve …` on PATH, the model in the Hub client's cache."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local.hub.store import Store
from tests.engines.conftest import KEY, MODEL, ROOT, Engine, free_port, run

REPO = "glm-serving/micro-glm"
SITE = Path(__file__).parents[1]
FLAGS = {
    "--uvicorn-log-level": "info",
    "--async-scheduling": None,
    "--tensor-parallel-size": "8",
    "--kv-cache-dtype": "fp8",
    "--max-model-len": "8192",
    "--max-num-seqs": "32",
    "--gpu-memory-utilization": "0.92",
    "--trust-remote-code": None,
    "--speculative-config": '{"method": "mtp", "num_speculative_tokens": 5}',
    "--tool-call-parser": "glm47",
    "--reasoning-parser": "glm45",
    "--enable-auto-tool-choice": None,
    "--safetensors-load-strategy": "prefetch",
    "--enable-prefix-caching": None,
    "--enforce-eager": None,
}
"""The published command, for a smaller model."""

Serve = Callable[..., Engine]


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """HF_HOME with one snapshot, whose weights are links to blobs as the Hub client makes them; and the commit."""
    store = Store(tmp_path_factory.mktemp("hub"))
    commit = store.commit(REPO, 0)
    home = tmp_path_factory.mktemp("hf")
    repo = home / "hub" / f"models--{REPO.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit.sha
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for file in commit.files.values():
        if file.path.endswith(".safetensors"):
            blob = repo / "blobs" / file.sha256
            shutil.copy(store.blob(file), blob)
            (snapshot / file.path).symlink_to(os.path.relpath(blob, snapshot))
        else:
            shutil.copy(store.blob(file), snapshot / file.path)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit.sha)
    return home, commit.sha


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm-caches")


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, hub: tuple[Path, str], caches: Path, started: list[Engine]
) -> Serve:
    """`serve(*words, without=…, model=…, key=…, ENV=…)`: starts servers."""

    def serve(
        *more: str,
        without: tuple[str, ...] = (),
        model: str | None = REPO,
        key: bool = True,
        command: tuple[str, ...] = ("vllm", "serve"),
        **env: str,
    ) -> Engine:
        folder, port = tmp_path_factory.mktemp("vllm"), free_port()
        flags = [word for name, value in FLAGS.items() if name not in without for word in (name, value) if word]
        argv = [*command, *([model] if model else []), "--served-model-name", MODEL, f"{MODEL}@7"]
        argv += ["--host", "127.0.0.1", "--port", str(port), *flags, *more]
        environment = {
            "PATH": f"{ROOT}/local/engines/vllm/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}/local/engines/shared:{ROOT}/local/engines/vllm:{SITE}",
            "LOCAL_IMAGE_TAG": "vllm/vllm-openai:glm52-cu129",
            "LOCAL_GPU": "H200:8",
            "STANDIN_SPEED": "2000",
            "HF_HOME": str(hub[0]),
            "HF_HUB_OFFLINE": "1",
            "VLLM_LOG_STATS_INTERVAL": "0.2",
            "VLLM_CACHE_ROOT": str(caches / "vllm"),
            "TRITON_CACHE_DIR": str(caches / "triton"),
            **({"VLLM_API_KEY": KEY} if key else {}),
            **env,
        }
        started.append(run(argv, environment, folder, port))
        return started[-1]

    return serve


@pytest.fixture(scope="session")
def vllm(server: Serve) -> Engine:
    """One server for all tests that leave it as it is."""
    running = server()
    running.wait_ready()
    return running
