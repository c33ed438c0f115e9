"""Known log lines as data: what each means and what to do about it. Here those of every container; each engine's own
are in serving/log_rules_sglang.py and serving/log_rules_vllm.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "monitor", "error", "fatal"]


@dataclass(frozen=True)
class Rule:
    name: str
    pattern: re.Pattern[str]
    """Searched for in the line without colours and Modal's prefixes, in any case of letters."""
    severity: Severity
    """info: ignore; monitor: watch it; error: answers may be wrong or a crash is near; fatal: the engine ends."""
    meaning: str
    action: str
    while_compiling: Severity | None = None
    """Severity of the same line during kernel compilation, where it differs."""


def rule(
    name: str,
    pattern: str,
    severity: Severity,
    meaning: str,
    action: str = "none",
    while_compiling: Severity | None = None,
) -> Rule:
    return Rule(name, re.compile(pattern, re.IGNORECASE), severity, meaning, action, while_compiling)


# The first rule that matches wins: failures before noise, and each engine's own rules before these.
SHARED: tuple[Rule, ...] = (
    rule(
        "oom-killer",
        r"\[monitor\] FATAL: \S+ died \(code -9\)",
        "fatal",
        "the engine was killed with SIGKILL: the OOM killer, unless the log shows the engine ending itself before",
        "lower the engine's share of GPU memory (mem-fraction-static 0.88 to 0.85, vLLM: gpu-memory-utilization)",
    ),
    rule(
        "platform-kill",
        r"\[monitor\] FATAL: \S+ died \(code 137\)",
        "fatal",
        "SIGKILL from the platform, or the engine ended its own process tree",
        "review Modal timeouts, manual stops and scale-down; look for a crash in the lines above",
    ),
    rule(
        "hang",
        r"\[monitor\] FATAL: \S+ hangs",
        "fatal",
        "requests were in hand and none got anywhere for deadlines.hang seconds",
        "read the lines above for a stuck collective; the container is replaced",
    ),
    rule(
        "died",
        r"\[monitor\] FATAL: ",
        "fatal",
        "the engine died while serving",
        "read the lines above; the container is replaced",
    ),
    rule(
        "start-up-failed",
        r"\[startup\] FATAL: ",
        "fatal",
        "this container never got ready and takes no traffic",
        "do what the line says",
    ),
    rule(
        "gpu-oom",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|Not enough memory\. Please try",
        "fatal",
        "GPU memory is exhausted",
        "lower mem-fraction-static (0.88 to 0.85; vLLM: gpu-memory-utilization or max-num-seqs) before raising the "
        "number of running requests",
    ),
    rule(
        "cuda-error",
        r"CUDA error: |CUDA_ERROR_|cudaError|device-side assert|NCCL error|ncclUnhandledCudaError|Xid ",
        "fatal",
        "a GPU, its driver or the link between GPUs failed",
        "if it comes back on new containers, look for a kernel or flag that this GPU does not support",
    ),
    rule(
        "corrupt-weights",
        r"SafetensorError|HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|incomplete metadata|checksum mismatch",
        "fatal",
        "a weight shard on the volume is damaged",
        "pulumi refresh, so that the damaged file alone is fetched again",
    ),
    rule(
        "unknown-flag",
        r"error: unrecognized arguments|launch_server.*error: argument |vllm(?: serve)?: error: "
        r"|sglang_server: error: ",
        "fatal",
        "the engine does not take one of the recipe's flags",
        "correct engine.flags in the recipe for this engine version",
    ),
    rule(
        "port-taken",
        r"address already in use",
        "fatal",
        "the engine's port is taken",
        "end the other process, or change port in the recipe",
    ),
    rule(
        "slow-health",
        r"\[health\] passed on attempt (?:1[5-9]|[2-9]\d|\d{3,})\b",
        "monitor",
        "slow weight load or graph capture",
        "near the health deadline: check volume throughput; consider a longer startup deadline",
    ),
    rule("fast-health", r"\[health\] passed on attempt \d+", "info", "the engine is up: hot volumes and graphs"),
    rule(
        "kernels-not-proven",
        r"\[startup\] kernels not proven complete",
        "monitor",
        "the engine makes its pass over all GEMM shapes at every start",
        "raise kernels.timeout in the recipe, then pulumi up: the proof alone is tried again while the replicas serve",
    ),
    rule(
        "server-error",
        r'"(?:GET|POST) /(?!health)\S* HTTP/1\.\d" 5\d\d',
        "error",
        "a request was answered with a server error",
        "read the engine's lines around it",
    ),
    rule(
        "traceback",
        r"Traceback \(most recent call last\)",
        "error",
        "the engine raised an exception",
        "read the frames that follow; the first line after them that is not indented names the cause",
    ),
    rule(
        "nccl-not-destroyed",
        r"destroy_process_group\(\) was not called|process group has NOT been destroyed",
        "info",
        "PyTorch's note when the engine's processes end",
    ),
    rule(
        "rank-device",
        r"barrier\(\): using the device under current context|Guessing device ID based on global rank",
        "info",
        "PyTorch was not told which GPU a rank has; rank and GPU have the same number on one machine",
    ),
    rule(
        "socket-hostname",
        r"\[c10d\] The hostname of the client socket cannot be retrieved",
        "info",
        "PyTorch found no name for this container's address; only its own log lines would have used it",
    ),
    rule(
        "leaked-semaphore",
        r"leaked (?:semaphore|shared_memory)|resource_tracker: There appear to be",
        "info",
        "Python's clean-up after the tensor-parallel workers have ended",
    ),
    rule(
        "gloo-peers",
        r"\[Gloo\] Rank \d+ is connected to \d+ peer ranks|Gloo Rank \d+ connected",
        "info",
        "Gloo serves local control groups only; GPU traffic is NCCL's",
    ),
    rule(
        "python-deprecation",
        r"(?:Deprecation|PendingDeprecation|Future|Syntax)Warning: ",
        "info",
        "a Python library's note to its own developers",
    ),
)
