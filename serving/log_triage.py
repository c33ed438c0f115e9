"""What a log line of the stack means and what to do about it: known noise, things to watch, and failures.

`python -m serving.log_triage FILE` prints a report of a saved log (`-` reads stdin).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "monitor", "error", "fatal"]
_ORDER: dict[str, int] = {"fatal": 0, "error": 1, "monitor": 2, "info": 3}


@dataclass(frozen=True)
class Rule:
    name: str
    pattern: re.Pattern[str]
    severity: Severity
    meaning: str
    action: str
    while_compiling: Severity | None = None
    """Severity of the same line during kernel compilation, where it differs."""


@dataclass(frozen=True)
class Finding:
    rule: str
    severity: Severity
    meaning: str
    action: str


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
        "pulumi refresh && pulumi up: the damaged file alone is fetched again",
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


def classify(line: str, *, compiling: bool = False) -> Finding | None:
    """What `line` is known to mean; None for a line that needs no explanation."""
    for rule in RULES:
        if rule.pattern.search(line):
            severity = rule.while_compiling if compiling and rule.while_compiling else rule.severity
            return Finding(rule.name, severity, rule.meaning, rule.action)
    return None


_EXCEPTION = re.compile(r"^(?:\[[^\]]*\]\s*)?((?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt)\b(?:: .+)?)$")
_USAGE_ERROR = re.compile(r"\berror: .+")
_NOT_A_CAUSE = ("During handling of the above", "The above exception was the direct cause")


def cause_of_failure(lines: Iterable[str]) -> str | None:
    """The line that best names why the process behind these (last) lines failed, or None.

    A traceback's last line or argparse's error beats a generic crash message, and a later one beats an earlier one
    except that messages about a child's death never hide the exception that killed it.
    """
    exception = usage = crash = None
    for line in lines:
        text = line.strip()
        if text.startswith(_NOT_A_CAUSE):
            continue
        if match := _EXCEPTION.match(text):
            exception = match.group(1)
        elif match := _USAGE_ERROR.search(text):
            usage = match.group(0)
        else:
            finding = classify(text)
            if finding and finding.severity == "fatal" and finding.rule not in ("child-failed", "scheduler-exception"):
                crash = text
    return exception or usage or crash


def report(lines: Iterable[str], *, compiling: bool = False) -> str:
    """One paragraph per kind of known line, worst first."""
    counts: Counter[Finding] = Counter()
    first: dict[Finding, tuple[int, str]] = {}
    total = 0
    for total, line in enumerate(lines, 1):
        finding = classify(line, compiling=compiling)
        if finding:
            counts[finding] += 1
            first.setdefault(finding, (total, line.strip()[:160]))
    if not counts:
        return f"{total} lines, none that needs explaining"
    parts = [f"{total} lines, {sum(counts.values())} known"]
    for finding in sorted(counts, key=lambda f: (_ORDER[f.severity], first[f][0])):
        number, line = first[finding]
        parts.append(
            f"{finding.severity.upper():8}{finding.rule} ({counts[finding]}x, first in line {number})\n"
            f"        {line}\n        meaning: {finding.meaning}\n        action:  {finding.action}"
        )
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    compiling = "--compile" in arguments
    files = [a for a in arguments if a != "--compile"]
    if len(files) != 1:
        print("usage: python -m serving.log_triage [--compile] FILE   (- reads stdin)", file=sys.stderr)
        return 2
    try:
        if files[0] == "-":
            print(report(sys.stdin, compiling=compiling))
        else:
            with open(files[0], encoding="utf-8", errors="replace") as file:
                print(report(file, compiling=compiling))
    except OSError as error:
        print(f"cannot read {files[0]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
