"""Known log lines of the stack as data: what each means and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "monitor", "error", "fatal"]


@dataclass(frozen=True)
class Rule:
    name: str
    pattern: re.Pattern[str]
    severity: Severity
    meaning: str
    action: str
    while_compiling: Severity | None = None
    """Severity of the same line during kernel compilation, where it differs."""


def _rule(
    name: str, pattern: str, severity: Severity, meaning: str, action: str, while_compiling: Severity | None = None
) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), severity, meaning, action, while_compiling)


_FP8_KV_ACTION = "set the flag kv-cache-dtype to bfloat16 in the recipe, then pulumi up"

# The first rule that matches wins: failures before noise.
RULES: tuple[Rule, ...] = (
    _rule(
        "oom-killer",
        r"\[monitor\] FATAL: \S+ died \(code -9\)",
        "fatal",
        "the engine was killed with SIGKILL: the OOM killer, unless the log shows the engine ending itself before",
        "lower mem-fraction-static (0.88 to 0.85)",
    ),
    _rule(
        "platform-kill",
        r"\[monitor\] FATAL: \S+ died \(code 137\)",
        "fatal",
        "SIGKILL from the platform, or the engine ended its own process tree",
        "review Modal timeouts, manual stops and scale-down; look for a crash in the lines above",
    ),
    _rule(
        "died",
        r"\[monitor\] FATAL: ",
        "fatal",
        "the engine died or hung while serving",
        "read the lines above; the container is replaced",
    ),
    _rule(
        "start-up-failed",
        r"\[startup\] FATAL: ",
        "fatal",
        "this container never got ready and takes no traffic",
        "do what the line says",
    ),
    _rule(
        "gpu-oom",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|Not enough memory\. Please try",
        "fatal",
        "GPU memory is exhausted",
        "lower mem-fraction-static (0.88 to 0.85) before raising max-running-requests",
    ),
    _rule(
        "scheduler-exception",
        r"\b\w+ hit an exception: ",
        "fatal",
        "a worker process of the engine raised",
        "read the traceback that follows; its last line names the cause",
    ),
    _rule(
        "child-crashed",
        r"Subprocess \S+ \(pid=\d+\) crashed with exit code",
        "fatal",
        "a worker process of the engine died",
        "exit code -9: GPU host out of memory, lower mem-fraction-static; otherwise read the lines above",
    ),
    _rule(
        "child-failed",
        r"It usually means (?:one|the) child failed",
        "fatal",
        "a worker process failed; the engine ends itself",
        "read the traceback above",
    ),
    _rule(
        "watchdog",
        r"Watchdog timeout|watchdog.*timed out",
        "fatal",
        "one forward batch took longer than watchdog-timeout",
        "look for a stuck collective or a JIT compilation above; raise watchdog-timeout only if it was slow, not stuck",
    ),
    _rule(
        "corrupt-weights",
        r"SafetensorError|HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|incomplete metadata|checksum mismatch",
        "fatal",
        "a weight shard on the volume is damaged",
        "pulumi refresh, so that the damaged file alone is fetched again",
    ),
    _rule(
        "unknown-flag",
        r"launch_server.*error: (?:unrecognized arguments|argument )|error: unrecognized arguments",
        "fatal",
        "the engine does not know one of the recipe's flags",
        "correct engine.flags in the recipe for this engine version",
    ),
    _rule(
        "port-taken",
        r"address already in use",
        "fatal",
        "the engine's port is taken",
        "end the other process, or change port in the recipe",
    ),
    # Rows 8 and 9 of the known compile noise are errors in serving: EAGLE with FP8 KV crashes on Blackwell.
    _rule(
        "fp8-kv-cache",
        r"Setting KV cache dtype to fp8|KV cache dtype (?:is )?set to fp8|KV Cache is allocated\. dtype: torch\.float8",
        "error",
        "the KV cache is FP8: with EAGLE on SM100 a known crash (SGLang #22359)",
        _FP8_KV_ACTION,
        while_compiling="info",
    ),
    _rule(
        "fp8-kv-unscaled",
        r"FP8 KV cache.*no scaling factors|no scaling factors.*(?:FP8|KV).*default",
        "error",
        "FP8 KV cache without scaling factors: answers lose accuracy",
        _FP8_KV_ACTION,
        while_compiling="info",
    ),
    _rule(
        "slow-health",
        r"\[health\] passed on attempt (?:1[5-9]|[2-9]\d|\d{3,})\b",
        "monitor",
        "slow weight load or graph capture",
        "near the health deadline: check volume throughput; consider a longer startup deadline",
    ),
    _rule("fast-health", r"\[health\] passed on attempt \d+", "info", "the engine is up", "none"),
    _rule(
        "not-ue8m0",
        r"scale_fmt of checkpoint is not ue8m0",
        "monitor",
        "DeepGEMM runs with another scale format than Blackwell's own; typical of E4M3 checkpoints",
        "watch the output quality",
    ),
    _rule(
        "torch-tensor-return",
        r"torch\.Tensor.*return type.*deprecated|return type.*torch\.Tensor.*deprecated",
        "monitor",
        "flashinfer.jit uses a deprecated return type",
        "none today; goes away when SGLang moves to a newer FlashInfer",
    ),
    _rule("orjson", r"ORJSONResponse.*deprecat", "info", "FastAPI deprecation inside SGLang", "none"),
    _rule(
        "generation-flags",
        r"generation flags are not valid|generation flags.*(?:ignored|invalid)",
        "info",
        "generation defaults such as top_p reported during the compile warm-up",
        "none",
    ),
    _rule(
        "package-walk",
        r"Unexpected error during package walk: cutlass\.cute\.experimental",
        "info",
        "FlashInfer's autotuner looks for an optional package; autotuning still completes",
        "none",
    ),
    _rule(
        "leaked-semaphore",
        r"leaked (?:semaphore|shared_memory)|resource_tracker: There appear to be",
        "info",
        "Python's clean-up after the tensor-parallel workers have ended",
        "none",
    ),
    _rule(
        "gloo-peers",
        r"\[Gloo\] Rank \d+ is connected to \d+ peer ranks|Gloo Rank \d+ connected",
        "info",
        "Gloo serves local control groups only; GPU traffic is NCCL's",
        "none",
    ),
    _rule(
        "sparse-mla",
        r"Force NSA prefill to .*sparse MLA|MHA_ONE_SHOT.*disabled",
        "info",
        "the TRT-LLM sparse MLA path, expected for GLM-5 on Blackwell",
        "none",
    ),
    _rule(
        "kernels-compiled",
        r"DeepGEMM Kernels compilation finished successfully",
        "info",
        "the kernels are cached for later cold starts",
        "none; the marker file confirms it",
    ),
)
