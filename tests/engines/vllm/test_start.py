"""Starting: the command line, the model's files, what costs time and where that is kept."""

from __future__ import annotations

import re
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.engines.conftest import KEY, Engine
from tests.engines.vllm.conftest import REPO, Serve

START = """
(APIServer) INFO [api_utils.py:339] version 0.23.0
(APIServer) INFO [api_utils.py:273] non-default args: {
(APIServer) INFO [arg_utils.py:757] HF_HUB_OFFLINE is True, replace model_id [glm-serving/micro-glm] to model_path [
(APIServer) INFO [model.py:611] Resolved architecture: GlmMoeDsaForCausalLM
(APIServer) INFO [model.py:1745] Using max model len 8192
(APIServer) INFO [cache.py:261] Using fp8 data type to store kv cache.
(APIServer) WARNING [speculative.py:723] Enabling num_speculative_tokens > 1 will run multiple times of forward
(APIServer) INFO [scheduler.py:239] Chunked prefill is enabled with max_num_batched_tokens=8192.
(APIServer) INFO [vllm.py:999] Asynchronous scheduling is enabled.
(EngineCore) INFO [core.py:113] Initializing a V1 LLM engine (v0.23.0) with config: model='
(Worker_TP0) INFO [gpu_model_runner.py:5092] Starting to load model
(Worker_TP0) INFO [weight_utils.py:922] Filesystem type for checkpoints: 9P. Checkpoint size:
(Worker_TP0) INFO [weight_utils.py:884] Prefetching checkpoint files into page cache started (in background
(Worker_TP0) Loading safetensors checkpoint shards: 100% Completed | 7/7
(Worker_TP0) INFO [default_loader.py:397] Loading weights took
(Worker_TP0) INFO [gpu_model_runner.py:5187] Model loading took
(Worker_TP0) INFO [gpu_worker.py:480] Available KV cache memory:
(EngineCore) INFO [kv_cache_utils.py:1744] GPU KV cache size:
(EngineCore) INFO [kv_cache_utils.py:1745] Maximum concurrency for 8,192 tokens per request:
(EngineCore) INFO [core.py:306] init engine (profile, create kv cache, warmup model) took
(APIServer) INFO [api_server.py:579] Supported tasks: ['generate']
(APIServer) INFO [api_server.py:583] Starting vLLM server on http://
(APIServer) INFO [launcher.py:46] Route: /v1/chat/completions, Methods: POST
(APIServer) INFO:     Started server process [
(APIServer) INFO:     Waiting for application startup.
(APIServer) INFO:     Application startup complete.
"""
"""Forms that users' logs of 0.23.0 have, in their order; process ids and times left out."""


def _plain(engine: Engine) -> list[str]:
    """The log without process ids and times."""
    text = re.sub(r"\((\w+) pid=\d+\) ", r"(\1) ", engine.log)
    return re.sub(r"(INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d ", r"\1 ", text).splitlines()


def test_the_log_has_the_lines_of_a_real_start(vllm: Engine) -> None:
    lines = iter(_plain(vllm))
    for wanted in START.strip().splitlines():
        process, rest = wanted.split(" ", 1)
        if rest.endswith("version 0.23.0"):
            assert any(line.startswith(process) and line.endswith("version 0.23.0") for line in lines)
        else:
            assert any(line.startswith(wanted) for line in lines), wanted


def test_a_key_in_the_environment_is_not_logged_and_one_among_the_words_is(vllm: Engine, server: Serve) -> None:
    assert KEY not in vllm.log
    engine = server("--api-key", "sk-visible", key=False)
    engine.wait_ready()
    assert "'api_key': ['sk-visible']" in engine.log
    assert engine.request("GET", "/v1/models", key="sk-visible").status == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-num-sqs", "3"), "vllm: error: unrecognized arguments: --max-num-sqs 3"),
        (("--kv-cache-dtype", "fp9"), "vllm serve: error: argument --kv-cache-dtype: invalid choice: 'fp9'"),
        (("--max-num-seqs", "many"), "vllm serve: error: argument --max-num-seqs: invalid int value: 'many'"),
        (("--speculative-config", "{method"), "vllm serve: error: argument --speculative-config/-sc: "),
        (("--max-model-len", "1.5K"), "Decimals are not allowed with binary suffixes like K."),
        (("--api-key",), "argument --api-key: expected at least one argument"),
    ],
)
def test_words_that_argparse_refuses(server: Serve, words: tuple[str, ...], said: str) -> None:
    engine = server(*words)
    assert engine.wait_exit() == 2
    assert said in engine.log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tool-call-parser", "glm99"), "KeyError: 'invalid tool call parser: glm99 (chose from {"),
        (("--reasoning-parser", "glm99"), "KeyError: 'invalid reasoning parser: glm99 (chose from {"),
        (("--max-model-len", "9k"), "User-specified max_model_len (9000) is greater than the derived max_model_len"),
        (("--tensor-parallel-size", "16"), "World size (16) is larger than the number of available GPUs (8)"),
        (("--speculative-config", '{"metod": "mtp"}'), "metod\n  Unexpected keyword argument"),
        (("--speculative-config", '{"method": "eagel"}'), "method\n  Input should be 'ngram', "),
        (("--revision", "0" * 40), "Cannot find an appropriate cached snapshot folder for the specified revision"),
        (("--middleware", "gate_for_tests.SITE"), "AttributeError: module 'gate_for_tests' has no attribute 'SITE'"),
        (("--gpu-memory-utilization", "0.0001"), "To serve at least one request with the model's max seq len"),
        (("--gpu-memory-utilization", "0.0000001"), "No available memory for the cache blocks."),
    ],
)  # fmt: skip
def test_what_vllm_finds_out_later(server: Serve, words: tuple[str, ...], said: str) -> None:
    engine = server(*words)
    assert engine.wait_exit() == 1
    assert said in engine.log.replace(f"(APIServer pid={engine.process.pid}) ", "")


def test_words_in_other_forms(server: Serve, hub: tuple[Path, str]) -> None:
    """Underscores, a config by its keys, the module instead of the command, a commit as the revision."""
    engine = server(
        *("--max_num_seqs", "4", "--revision", hub[1]),
        *("--speculative-config.method", "mtp", "--speculative-config.num_speculative_tokens", "3"),
        *("--model", REPO),
        without=("--speculative-config", "--max-num-seqs"),
        model=None,
        command=(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
    )
    engine.wait_ready()
    assert "'speculative_config': {'method': 'mtp', 'num_speculative_tokens': 3}" in engine.log
    assert f"'revision': '{hub[1]}'" in engine.log
    assert engine.chat("hi").status == 200


def test_a_port_in_use_is_noticed_before_the_model_is_loaded(server: Serve) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        engine = server("--port", str(other.getsockname()[1]))
        assert engine.wait_exit() == 1
    assert "OSError: [Errno 98] Address already in use" in engine.log
    assert "EngineCore" not in engine.log


def test_a_broken_shard_ends_the_start(server: Serve, hub: tuple[Path, str], tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(hub[0] / "hub" / f"models--{REPO.replace('/', '--')}" / "snapshots" / hub[1], model)
    shard = sorted(model.glob("*.safetensors"))[2]
    with shard.open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"\xff")
    engine = server(model=str(model))
    assert engine.wait_exit() == 1
    assert "EngineCore failed to start." in engine.log
    assert f"{shard} is corrupt" in engine.log
    assert (
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}" in engine.log
    )


def test_what_costs_time_and_what_is_kept(server: Serve, tmp_path: Path) -> None:
    """Prefetching, torch.compile and its cache, Triton's kernels: each in proportion to the real times."""
    own = {"VLLM_CACHE_ROOT": str(tmp_path / "vllm"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    fast = server(STANDIN_SPEED="200", **own)
    fast.wait_ready()
    waits = []
    for _ in range(2):
        began = time.monotonic()
        assert fast.request("POST", "/v1/completions", {"prompt": "fox " * 1500, "max_tokens": 1}).status == 200
        waits.append(time.monotonic() - began)
    assert waits[0] > 35 / 200 > waits[1]
    assert fast.log.count("Triton kernel JIT compilation during inference: _prefill_mtp_kernel") == 1
    fast.kill()

    slow = server(STANDIN_SPEED="600", without=("--safetensors-load-strategy", "--enforce-eager"), **own)
    assert slow.wait_ready() > 660 / 600 + 1200 / 600
    assert (
        "Auto-prefetch is disabled because the filesystem (9P) is not a recognized network FS (NFS/Lustre)" in slow.log
    )
    assert "Cache the graph of compile range" in slow.log
    slow.kill()
    again = server(STANDIN_SPEED="600", without=("--enforce-eager",), **own)
    assert again.wait_ready() < 1200 / 600
    assert "Directly load the compiled graph(s)" in again.log
    assert again.request("POST", "/v1/completions", {"prompt": "fox " * 1500, "max_tokens": 1}).status == 200
    assert "JIT compilation during inference" not in again.log


def test_an_image_that_names_no_known_release(server: Serve) -> None:
    engine = server(LOCAL_IMAGE_TAG="vllm/vllm-openai:nightly")
    assert engine.wait_exit() == 1
    assert "names no release, nor is it one of glm52, glm52-cu129" in engine.log
