"""vLLM: its command line, environment, log lines and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from serving.architecture import Architecture
from serving.engines import Flags, arguments, count, degrees
from serving.recipe import Recipe
from serving.start_phases import GRAPHS, WARM_UP

TITLE = "vLLM"
HEALTH_PATH = "/health"
METRICS_PATH = "/metrics"
REQUESTS_METRIC = "vllm:request_success_total"
READY_LINE = re.compile(r"Application startup complete")
FREEZE_PATH = ""
# After the weights: the profile run, torch.compile and CUDA graphs where they are used, the KV cache.
PHASE_LINES = (
    (GRAPHS, re.compile(r"Model loading took ")),
    (WARM_UP, re.compile(r"Application startup complete")),
)
COMPILING_LINE = re.compile(r"torch\.compile (?:took|takes) |Compiling a graph for")

SET_BY_THE_STACK = frozenset({
    "model", "revision", "served-model-name", "host", "port", "api-key", "config", "middleware", "download-dir",
})  # fmt: skip
_NO_DOOR = "no server of OpenAI's API would listen on the port that clients are led to"
_TLS = "it would speak HTTPS, and the health probe and Modal's proxy in front of it speak HTTP"
_MACHINES = "it takes several machines or a balancer of their own, and a replica is one machine behind Modal's"
_NO_CHAT = "it would answer no chat requests"
UNSERVABLE = {
    **dict.fromkeys(("headless", "grpc", "uds"), _NO_DOOR),
    **dict.fromkeys(("ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-cert-reqs", "ssl-ciphers"), _TLS),
    "enable-ssl-refresh": _TLS,
    "root-path": "every path would have it in front, and the gate and the health probe know none but their own",
    "hf-token": "a secret would be in the command line and the log; weights come from the volume, no token is needed",
    **dict.fromkeys(("nnodes", "node-rank", "master-addr", "master-port"), _MACHINES),
    **dict.fromkeys((
        "data-parallel-rank", "data-parallel-start-rank", "data-parallel-size-local", "data-parallel-address",
        "data-parallel-rpc-port", "data-parallel-hybrid-lb", "data-parallel-external-lb",
        "data-parallel-multi-port-external-lb", "data-parallel-supervisor-port",
    ), _MACHINES),
    **dict.fromkeys(("tokens-only", "skip-tokenizer-init", "mm-encoder-only"), _NO_CHAT),
}  # fmt: skip
LEAST_ONE = frozenset({
    "max-model-len", "max-num-seqs", "max-num-batched-tokens", "tensor-parallel-size", "pipeline-parallel-size",
    "data-parallel-size", "prefill-context-parallel-size", "decode-context-parallel-size", "api-server-count",
    "block-size", "num-gpu-blocks-override", "kv-cache-memory-bytes",
})  # fmt: skip
MINUS_ONE = frozenset({"max-model-len"})
FRACTIONS = frozenset({"gpu-memory-utilization"})
METRICS_FLAG = ("disable-log-stats", False)
SHAPELESS_FLAGS = frozenset({
    "uvicorn-log-level", "reasoning-parser", "tool-call-parser", "enable-auto-tool-choice", "trust-remote-code",
    "gpu-memory-utilization", "safetensors-load-strategy", "enable-prefix-caching", "disable-log-stats",
})  # fmt: skip
TENSOR_PARALLEL = ("tensor-parallel-size",)
GATE = "serving.engines.gate.Gate"
"""Middleware that asks for the key wherever vLLM itself does not."""

_DEFAULT_MAX_REQUESTS = 1024  # of a server on a GPU of 70 GiB or more, vllm/engine/arg_utils.py:2322
SUFFIXES = {"k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}


def tensor_parallel(flags: Flags) -> int:
    return next(iter(degrees(flags, TENSOR_PARALLEL).values()))


def parallelism(flags: Flags) -> dict[str, int]:
    """Decoding's context parallelism shares the GPUs of tensor parallelism, the prompt's takes its own
    (vllm/config/parallel.py, world_size)."""
    others = ("pipeline-parallel-size", "data-parallel-size", "prefill-context-parallel-size")
    return degrees(flags, TENSOR_PARALLEL, *((name,) for name in others))


def speculates(flags: Flags) -> bool:
    given = flags.get("speculative-config")
    document = json.loads(given) if isinstance(given, str) and given.startswith("{") else given
    document = document if isinstance(document, dict) else {}
    method = flags.get("speculative-config.method", flags.get("spec-method", document.get("method")))
    return method in ("mtp", "deepseek_mtp", "glm4_moe_mtp")


def kv_cache_dtype(recipe: Recipe) -> str:
    """vLLM's `auto` is the type of the model's activations; its `fp8` is e4m3."""
    dtype = str(recipe.engine.flags.get("kv-cache-dtype", "auto"))
    return {"auto": "bfloat16", "fp8": "fp8_e4m3"}.get(dtype, dtype)


def kv_bytes_per_layer(recipe: Recipe, model: Architecture) -> int:
    """Sparse attention on Hopper keeps scales and a BF16 rotary part (`fp8_ds_mla`, 656 bytes); nothing else does."""
    flags = recipe.engine.flags
    scaled = flags.get("kv-cache-dtype") == "fp8_ds_mla" or flags.get("attention-backend") == "FLASHMLA_SPARSE"
    scaled = model.index_n_heads > 0 and (scaled or recipe.gpu.capability < 100)
    return model.kv_bytes_per_layer(fp8=kv_cache_dtype(recipe).startswith("fp8"), packed=not scaled)


def longest_request(recipe: Recipe) -> int:
    asked = recipe.engine.flags.get("max-model-len", "auto")
    return recipe.model.context_tokens if str(asked).lower() in ("auto", "-1") else count(asked, SUFFIXES)


def most_requests(recipe: Recipe) -> int:
    return count(recipe.engine.flags.get("max-num-seqs", _DEFAULT_MAX_REQUESTS), {})


def has_metrics(recipe: Recipe) -> bool:
    return not recipe.engine.flags.get("disable-log-stats")


def stopping_rules(recipe: Recipe) -> frozenset[str]:
    return frozenset()


def launch_command(recipe: Recipe, commit: str, *, config_path: str | None = None, release: str = "") -> list[str]:
    """`vllm serve …`. The repository's name and a commit where the volume is the Hub client's cache, else the folder.

    The first served name is the one clients use and metrics carry. The second says which release this is: vLLM's
    answers do not tell, but it answers 404 to a name it does not have, so asking for it reaches this release or none.
    """
    if recipe.download.layout == "hub":
        model = [recipe.model.repo, "--revision", commit]
    else:
        model = [recipe.model_path(commit)]
    names = [recipe.model.served_name, *([name_of_release(recipe, release)] if release else [])]
    return [
        *("vllm", "serve", *model),
        *("--served-model-name", *names),
        *("--host", "0.0.0.0"),
        *("--port", str(recipe.port)),
        *("--middleware", GATE),
        *arguments(recipe.engine.flags),
    ]


def config_file(api_key: str, release: str) -> str | None:
    return None


def secret_environment(api_key: str) -> dict[str, str]:
    return {"VLLM_API_KEY": api_key} if api_key else {}


def name_of_release(recipe: Recipe, release: str) -> str:
    return f"{recipe.model.served_name}@{release}"


def compile_command(recipe: Recipe, commit: str) -> list[str]:
    """Never asked: a recipe with kernels is refused for an engine without cache folders."""
    raise NotImplementedError(f"{recipe.name}: vLLM has no tool that compiles ahead")


def cache_folders() -> dict[str, str]:
    return {}


def engine_environment(recipe: Recipe, kernel_path: str, *, proven: bool = False) -> dict[str, str]:
    weights = {"HF_HOME": recipe.volumes.weights.mount_path} if recipe.download.layout == "hub" else {}
    return {
        "HF_HUB_OFFLINE": "1",  # everything is on the volume; a look-up would only add a failure mode
        "PYTHONUNBUFFERED": "1",  # its output is a pipe: lines as they happen, not in 8 KiB blocks
        "VLLM_NO_USAGE_STATS": "1",
        **weights,
        "VLLM_CACHE_ROOT": recipe.volumes.kernels.mount_path,
        **recipe.engine.environment,
    }


# Counters and gauges that move while requests are worked on; vLLM counts tokens with every step.
_PROGRESS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:iteration_tokens_total_count",
    "vllm:request_success_total",
    "vllm:kv_cache_usage_perc",
)


def busy(metrics: Mapping[str, float]) -> float:
    return metrics.get("vllm:num_requests_running", 0.0) + metrics.get("vllm:num_requests_waiting", 0.0)


def progress(metrics: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(metrics[name] for name in _PROGRESS if name in metrics)
