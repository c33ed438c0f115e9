"""SGLang: its command lines, environment, log lines and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from serving.architecture import Architecture
from serving.engines import Flags, arguments, count, degrees
from serving.recipe import Recipe
from serving.start_phases import GRAPHS, WARM_UP

TITLE = "SGLang"
HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"
REQUESTS_METRIC = "sglang:num_requests_total"
READY_LINE = re.compile(r"The server is fired up and ready to roll")
FREEZE_PATH = "/freeze_gc"
# 0.5.10: "Capture cuda graph begin.", 0.5.16: "Capture target verify CUDA graph begin."
PHASE_LINES = (
    (GRAPHS, re.compile(r"Capture (?:[\w-]+ )*cuda graph begin", re.IGNORECASE)),
    (WARM_UP, re.compile(r"Application startup complete")),
)
# DeepGEMM's own pass, and what ninja prints for tvm-ffi and FlashInfer: "[1/2] /usr/local/cuda/bin/nvcc …".
COMPILING_LINE = re.compile(r"DeepGEMM JIT Compiling for|^\[\d+/\d+\] (?:\S*/)?(?:nvcc|c\+\+|g\+\+|clang\+*)\s")

SET_BY_THE_STACK = frozenset({
    "model", "model-path", "served-model-name", "host", "port", "api-key", "admin-api-key", "config", "weight-version",
})  # fmt: skip
# More than one HTTP process: each imports the server anew, without the gate, and SGLang checks no key in them either.
# The other modes serve by gRPC or from another module.
_PAST_THE_GATE = "the API key would not be asked for"
_TLS = "it would speak HTTPS, and the health probe and Modal's proxy in front of it speak HTTP"
_MACHINES = "it takes several machines, and a replica is one"
_HALF = "it would be one half of a server, whose other half no replica has"
_NO_CHAT = "it would answer no chat requests"
UNSERVABLE = {
    **dict.fromkeys((
        "tokenizer-worker-num", "grpc-mode", "smg-grpc-mode", "grpc-port", "smg-http-sidecar-port",
        "grpc-http-sidecar-port", "sidecar", "encoder-only",
    ), _PAST_THE_GATE),
    **dict.fromkeys((
        "ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-keyfile-password", "enable-ssl-refresh",
    ), _TLS),
    "fastapi-root-path": "every path would have it in front, and the gate and the health probe know none but their own",
    "use-ray": "it would look for a Ray cluster, and a replica has none",
    **dict.fromkeys(("nnodes", "node-rank"), _MACHINES),
    **dict.fromkeys(("disaggregation-mode", "language-only"), _HALF),
    **dict.fromkeys(("is-embedding", "skip-tokenizer-init"), _NO_CHAT),
    "checkpoint-engine-wait-weights-before-ready": "it would wait for weights that nobody sends",
    "delete-ckpt-after-loading": "the first replica would delete the weights that all of them share",
}  # fmt: skip
LEAST_ONE = frozenset({
    "max-running-requests", "max-queued-requests", "max-total-tokens", "max-prefill-tokens", "context-length",
    "page-size", "tp", "tp-size", "tensor-parallel-size", "pp-size", "pipeline-parallel-size", "dp", "dp-size",
    "data-parallel-size", "ep", "ep-size", "expert-parallel-size", "watchdog-timeout", "cuda-graph-max-bs",
    "speculative-num-steps", "speculative-eagle-topk", "speculative-num-draft-tokens",
})  # fmt: skip
MINUS_ONE: frozenset[str] = frozenset()
FRACTIONS = frozenset({"mem-fraction-static"})
METRICS_FLAG = ("enable-metrics", True)
# `context-length` is none of these: it is the width of the table of requests, and that is a constant compiled into
# Triton kernels (`req_to_token_ptr_stride: tl.constexpr`, 0.5.10.post1 layers/attention/utils.py:24).
SHAPELESS_FLAGS = frozenset({
    "served-model-name", "host", "port", "watchdog-timeout", "enable-metrics", "reasoning-parser", "tool-call-parser",
    "trust-remote-code", "log-level", "max-total-tokens", "mem-fraction-static",
})  # fmt: skip
TENSOR_PARALLEL = ("tp", "tp-size", "tensor-parallel-size")

_DEFAULT_MAX_REQUESTS = 48
SUFFIXES = {"k": 10**3, "M": 10**6, "Ki": 2**10, "Mi": 2**20}

_CACHES = {
    "SGLANG_DG_CACHE_DIR": "deep_gemm",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TRITON_CACHE_DIR": "triton",
}


def tensor_parallel(flags: Flags) -> int:
    return next(iter(degrees(flags, TENSOR_PARALLEL).values()))


def parallelism(flags: Flags) -> dict[str, int]:
    """With attention in parallel over data, `dp` shares the GPUs of `tp`; else each of its parts takes its own
    (0.5.10.post1 managers/data_parallel_controller.py:253)."""
    pipeline, data = ("pp-size", "pipeline-parallel-size"), ("dp", "dp-size", "data-parallel-size")
    return degrees(flags, TENSOR_PARALLEL, pipeline, *(() if flags.get("enable-dp-attention") else (data,)))


def speculates(flags: Flags) -> bool:
    return flags.get("speculative-algorithm") in ("EAGLE", "NEXTN")


def kv_cache_dtype(recipe: Recipe) -> str:
    """SGLang's `auto` depends on the GPU where a model has sparse attention."""
    dtype = str(recipe.engine.flags.get("kv-cache-dtype", "auto"))
    if dtype in ("auto", "bf16", "bfloat16"):
        model = recipe.model.architecture
        sparse = model is not None and model.index_n_heads > 0
        return "fp8_e4m3" if dtype == "auto" and sparse and recipe.gpu.capability >= 100 else "bfloat16"
    return dtype


def kv_bytes_per_layer(recipe: Recipe, model: Architecture) -> int:
    flags = recipe.engine.flags
    backends = {flags.get(f"{kind}-{phase}-backend") for kind in ("nsa", "dsa") for phase in ("prefill", "decode")}
    packed = not model.index_n_heads or "trtllm" in backends or recipe.gpu.capability >= 100
    return model.kv_bytes_per_layer(fp8=kv_cache_dtype(recipe).startswith("fp8"), packed=packed)


def longest_request(recipe: Recipe) -> int:
    flags, model = recipe.engine.flags, recipe.model.context_tokens
    return min(count(flags.get(name, model), SUFFIXES) for name in ("context-length", "max-total-tokens"))


def most_requests(recipe: Recipe) -> int:
    return count(recipe.engine.flags.get("max-running-requests", _DEFAULT_MAX_REQUESTS), {})


def has_metrics(recipe: Recipe) -> bool:
    return bool(recipe.engine.flags.get("enable-metrics"))


def stopping_rules(recipe: Recipe) -> frozenset[str]:
    """An FP8 cache is a known crash with EAGLE on Blackwell (SGLang #22359), which a preview refuses as well
    (recipes/flags/known_broken.yaml), and a matter of taste elsewhere."""
    drafts = recipe.engine.flags.get("speculative-algorithm") in ("EAGLE", "EAGLE3", "NEXTN")
    crashes = drafts and recipe.gpu.architecture in ("sm100", "sm103")
    return frozenset({"fp8-kv-cache", "fp8-kv-unscaled"} if crashes else ())


def launch_command(recipe: Recipe, commit: str, *, config_path: str | None = None, release: str = "") -> list[str]:
    """`python3 -m sglang.launch_server …`; with `config_path`, a .yaml file with the API key, behind the gate.

    Without one the server is nobody's but ours, as while the kernel caches are filled.
    """
    argv = [
        *("python3", "-m", "serving.engines.sglang_server" if config_path else "sglang.launch_server"),
        *("--model-path", recipe.model_path(commit)),
        *("--served-model-name", recipe.model.served_name),
        *("--host", "0.0.0.0"),
        *("--port", str(recipe.port)),
        *arguments(recipe.engine.flags),
    ]
    return [*argv, "--config", config_path] if config_path else argv


def config_file(api_key: str, release: str) -> str:
    # SGLang puts its weight version into `metadata` of every answer: a client can tell which release it talks to,
    # with no proxy in between. A JSON string is a YAML string, whatever characters the key has.
    lines = {"api-key": api_key, "weight-version": release}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items() if value)


def secret_environment(api_key: str) -> dict[str, str]:
    return {}


def name_of_release(recipe: Recipe, release: str) -> str:
    """Its answers name their release themselves, so every release is asked under the model's one name."""
    return recipe.model.served_name


def compile_command(recipe: Recipe, commit: str) -> list[str]:
    """`python3 -m sglang.compile_deep_gemm …` with the serving flags: which shapes get compiled depends on them.

    No `--config` (the tool does not take it) and no key (it asks its own server without one and would get 401).
    Its server listens on the recipe's port, as the starts that follow and serving do.
    """
    return [
        *("python3", "-m", "sglang.compile_deep_gemm"),
        *("--model-path", recipe.model_path(commit)),
        *("--timeout", str(recipe.compiling.timeout)),
        *("--port", str(recipe.port)),
        *arguments(recipe.engine.flags),
    ]


def cache_folders() -> dict[str, str]:
    return dict(_CACHES)


def engine_environment(recipe: Recipe, kernel_path: str, *, proven: bool = False) -> dict[str, str]:
    environment = {
        "HF_HUB_OFFLINE": "1",  # everything is on the volume; a look-up would only add a failure mode
        "PYTHONUNBUFFERED": "1",  # its output is a pipe: lines as they happen, not in 8 KiB blocks
        # /health stays open to anybody: let it cost no generation (see serving/engines/gate.py).
        "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",
        **{variable: f"{kernel_path}/{folder}" for variable, folder in _CACHES.items()},
        **recipe.engine.environment,
    }
    if proven:
        # Even with all kernels on disk SGLang runs every GEMM shape over 16,384 sizes at each start (measured:
        # 124 s to ready with it, 53 s without). A start without it has compiled nothing, so it would do nothing else.
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
