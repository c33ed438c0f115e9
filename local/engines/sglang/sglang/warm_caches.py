"""The JIT's part in a start: what is compiled when, and the lines that say so."""

from __future__ import annotations

import os
import time
from typing import Any

from standin.environment import scaled
from standin.kernels import compile_missing
from standin.log import log, raw

from sglang.arguments import ServerArgs
from sglang.model_kernels import Shape, gemm_shapes, other_kernels

_PASS_SECONDS = {False: 1.6, True: 0.16}
"""Running one shape over all its sizes with every kernel on disk, without and with the fast warm-up."""
_ENTERING = (
    "Entering DeepGEMM JIT Pre-Compile session. It may take a long time (typically 10-20 mins) if you have not run "
    "`sglang.compile_deep_gemm`. It is recommended to run `sglang.compile_deep_gemm` with same args as "
    "`sglang.launch_server` for pre-compilation to reduce the overhead if you have not run it before. For example: "
    "`python3 -m sglang.compile_deep_gemm --model deepseek-ai/DeepSeek-V3 --tp 8 --trust-remote-code`"
)


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).lower() in ("1", "true", "yes")


class KernelCaches:
    def __init__(self, config: dict[str, Any], args: ServerArgs, memory_gb: float, compiling: bool = False) -> None:
        self._precompile = compiling or _flag("SGLANG_JIT_DEEPGEMM_PRECOMPILE", True)
        self._fast = _flag("SGLANG_JIT_DEEPGEMM_FAST_WARMUP", False)
        self._compiling = compiling
        self._memory = memory_gb
        self._shapes = gemm_shapes(config, args)
        self._others = other_kernels(config, args)
        self._met: set[tuple[int, int]] = set()
        self._ready: set[object] = set()

    def for_graphs(self, batch_sizes: list[int], stage: str) -> None:
        """Before CUDA graphs of these sizes are captured; `stage` as in Shape."""
        if stage == "capture":
            self._other("capture")
        self._gemms([shape for shape in self._shapes if shape.stage == stage], batch_sizes)

    def for_prefill(self, tokens: int, requests: int) -> None:
        """Before a prompt of that many tokens is prefilled, with that many requests running."""
        self._gemms(self._shapes, [max(1, tokens)])
        self._other("prefill")
        if tokens > 1024:
            self._other("long")
        if tokens > 2048:
            self._other("sparse")
        if requests >= 8:
            self._other("batch")

    def _other(self, stage: str) -> None:
        if stage not in self._ready:
            compile_missing(self._others[stage])
            self._ready.add(stage)

    def _gemms(self, shapes: list[Shape], sizes: list[int]) -> None:
        for shape in shapes:
            if self._precompile:
                self._all_sizes(shape)
                continue
            # Without the pre-compile pass nothing is said: a missing kernel is just a request that takes longer.
            for kernel in {shape.kernel_for(size) for size in sizes} - self._ready:
                compile_missing([kernel])
                self._ready.add(kernel)

    def _all_sizes(self, shape: Shape) -> None:
        if (shape.n, shape.k) in self._met:
            return
        self._met.add((shape.n, shape.k))
        if not self._compiling:
            log(_ENTERING)
        hint = " It only takes a little time (typically 1 sec) if you have run `python3 -m sglang.compile_deep_gemm`. "
        log(
            f"Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N={shape.n}, K={shape.k}, num_groups=1 with all Ms."
            f"{'' if self._compiling else hint}"
        )
        largest = 8192 if self._fast else 16384
        log(f"Required memory for warmup: {shape.memory_gb(largest)}GB, Available memory: {self._memory}GB")
        total = 2048 if self._fast else 16384
        raw(f"\rDeepGEMM warmup:   0%|          | 0/{total} [00:00<?, ?it/s]")
        started = time.monotonic()
        compile_missing(kernel for _, kernel in shape.buckets)
        if not self._compiling:
            time.sleep(scaled(_PASS_SECONDS[self._fast]))
        seconds = max(1e-3, time.monotonic() - started)
        clock = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
        raw(f"\rDeepGEMM warmup: 100%|██████████| {total}/{total} [{clock}<00:00, {total / seconds:.2f}it/s]\n")
