"""SGLang: its command lines, environment, log lines and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from serving.recipe import FlagValue, Recipe

TITLE = "SGLang"
HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"
READY_LINE = re.compile(r"The server is fired up and ready to roll")

_CACHES = {
    "SGLANG_DG_CACHE_DIR": "deep_gemm",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TRITON_CACHE_DIR": "triton",
}


def _arguments(flags: Mapping[str, FlagValue]) -> list[str]:
    """`true` is a bare switch, `false` a switch left out, anything else a value."""
    argv: list[str] = []
    for name, value in flags.items():
        if value is False:
            continue
        argv.append(f"--{name}")
        if value is not True:
            argv.append(str(value))
    return argv


def launch_command(recipe: Recipe, model_path: str, config_path: str | None) -> list[str]:
    """`python3 -m sglang.launch_server …`; `config_path` (a .yaml file with the API key) only where there is a key."""
    argv = [
        *("python3", "-m", "sglang.launch_server"),
        *("--model-path", model_path),
        *("--served-model-name", recipe.model.served_name),
        *("--host", "0.0.0.0"),
        *("--port", str(recipe.port)),
        *_arguments(recipe.engine.flags),
    ]
    return [*argv, "--config", config_path] if config_path else argv


def config_file(api_key: str, release: str) -> str:
    # SGLang puts its weight version into `metadata` of every answer: a client can tell which release it talks to,
    # with no proxy in between. A JSON string is a YAML string, whatever characters the key has.
    lines = {"api-key": api_key, "weight-version": release}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items() if value)


def compile_command(recipe: Recipe, model_path: str) -> list[str]:
    """`python3 -m sglang.compile_deep_gemm …` with the serving flags: which shapes get compiled depends on them.

    No `--config` (the tool does not take it) and no key (it asks its own server without one and would get 401).
    Host and port stay at the tool's own defaults: nobody but itself talks to that server.
    """
    return [
        *("python3", "-m", "sglang.compile_deep_gemm"),
        *("--model-path", model_path),
        *("--timeout", str(recipe.kernels.timeout)),
        *_arguments(recipe.engine.flags),
    ]


def cache_folders() -> dict[str, str]:
    return dict(_CACHES)


def engine_environment(recipe: Recipe, kernel_path: str, *, compiling: bool = False) -> dict[str, str]:
    environment = {
        "HF_HUB_OFFLINE": "1",  # everything is on the volume; a look-up would only add a failure mode
        "PYTHONUNBUFFERED": "1",  # its output is a pipe: lines as they happen, not in 8 KiB blocks
        **{variable: f"{kernel_path}/{folder}" for variable, folder in _CACHES.items()},
        **recipe.engine.environment,
    }
    if not compiling:
        # Even with all kernels on disk SGLang runs every GEMM shape over 16,384 sizes at each start (measured:
        # 124 s to ready with it, 53 s without). The artifact was proven complete before the engine starts; what
        # might still be missing is compiled when first needed.
        environment.setdefault("SGLANG_JIT_DEEPGEMM_PRECOMPILE", "0")
    return environment


# Counters and gauges that move while requests are worked on. Token totals alone would not do: SGLang adds a
# request's tokens to them when the request ends, and one long answer may take many minutes.
_PROGRESS = (
    "sglang:generation_tokens_total",
    "sglang:prompt_tokens_total",
    "sglang:realtime_tokens_total",
    "sglang:inter_token_latency_seconds_count",
    "sglang:time_to_first_token_seconds_count",
    "sglang:cuda_graph_passes_total",
    "sglang:spec_verify_calls_total",
    "sglang:num_requests_total",
    "sglang:num_used_tokens",
    "sglang:token_usage",
    "sglang:gen_throughput",
    "sglang:decode_sum_seq_lens",
)


def busy(metrics: Mapping[str, float]) -> float:
    return metrics.get("sglang:num_running_reqs", 0.0) + metrics.get("sglang:num_queue_reqs", 0.0)


def progress(metrics: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(metrics[name] for name in _PROGRESS if name in metrics)


def finished_requests(metrics: Mapping[str, float]) -> int:
    return int(metrics.get("sglang:num_requests_total", 0.0))
