"""What vLLM compiles, when, and where it keeps that: torch.compile's graphs, DeepGEMM's and Triton's kernels.

Names and layout of the files are plausible rather than exact; the folders and what moves them are vLLM's.
"""

from __future__ import annotations

import time
from pathlib import Path

from standin.kernels import Kernel, cache_root, compile_missing, digest

from vllm import log
from vllm.engine_config import EngineConfig
from vllm.version import __version__

# Seconds on the real system's clock; STANDIN_SPEED divides them.
_COMPILE = 1200.0
"""torch.compile and CUDA graphs of GLM-5.2: a start without --enforce-eager took more than 20 minutes."""
_DEEP_GEMM = 30.0
_TRITON = 35.0
"""The first prompt of a new length, run eagerly with MTP, waited that long."""

_LENGTHS = (256, 1024, 2048, 8192, 32768)
"""Prompts up to each bound share their kernels; longer ones have their own."""


class Compiled:
    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._root = cache_root("VLLM_CACHE_ROOT", "~/.cache/vllm")
        model = (config.model["hidden_size"], config.args.kv_cache_dtype, config.speculative_tokens)
        self._facts = (__version__, config.gpu.architecture, config.tp, *model)
        self._known: set[int] = set()
        self._warned: set[str] = set()

    def graphs(self, worker: str) -> float:
        """torch.compile, from its cache where it has one; the seconds it took. Nothing when run eagerly."""
        if self._config.args.enforce_eager:
            return 0.0
        folder = self._root / "torch_compile_cache" / digest("compile", *self._facts, self._config.max_model_len)[:10]
        backbone = folder / "rank_0_0" / "backbone"
        log.info("backends.py:1089", f"Using cache directory: {backbone} for vLLM's torch.compile", worker)
        graph = Kernel(
            ((backbone / "computation_graph.py", 90_000), (backbone / "vllm_compile_cache.py", 4_000)), _COMPILE
        )
        span = f"(1, {self._config.max_num_batched_tokens})"
        started = time.monotonic()
        if graph.cached():
            log.info(
                "backends.py:292",
                f"Directly load the compiled graph(s) for compile range {span} from the cache",
                worker,
            )
        else:
            graph.compile()
            log.info("backends.py:378", f"Cache the graph of compile range {span} for later use", worker)
        seconds = time.monotonic() - started
        log.info("monitor.py:53", f"torch.compile took {seconds:.2f} s in total", worker)
        return seconds

    def deep_gemm(self) -> int:
        """The GEMM kernels that the start warms; how many had to be compiled."""
        return compile_missing([self._deep_gemm(name) for name in ("fp8_gemm", "m_grouped_fp8_gemm")])

    def for_prefill(self, tokens: int, requests: int) -> None:
        """Before a prompt of that many tokens is prefilled."""
        length = next((index for index, bound in enumerate(_LENGTHS) if tokens <= bound), len(_LENGTHS))
        if length in self._known:
            return
        self._known.add(length)
        kernel = self._triton(length)
        if kernel.cached():
            return
        name = "_prefill_mtp_kernel"
        if name not in self._warned:  # vLLM says it once per kernel, however often it is compiled
            self._warned.add(name)
            log.warning(
                "jit_monitor.py:103",
                f"Triton kernel JIT compilation during inference: {name}. This causes a latency spike; consider "
                "extending warmup to cover this shape/config.",
            )
        kernel.compile()

    def _deep_gemm(self, name: str) -> Kernel:
        architecture = self._config.gpu.architecture
        folder = (
            self._root / "deep_gemm" / "cache" / f"kernel.sm{architecture}_{name}.{digest(name, *self._facts)[:32]}"
        )
        return Kernel(((folder / "kernel.cu", 1408), (folder / "kernel.cubin", 61_000)), _DEEP_GEMM / 2)

    def _triton(self, length: int) -> Kernel:
        root = cache_root("TRITON_CACHE_DIR", "~/.triton/cache")
        folder: Path = root / digest("prefill", length, *self._facts)[:52].upper()
        return Kernel(
            ((folder / "_prefill_mtp_kernel.cubin", 24_000), (folder / "_prefill_mtp_kernel.json", 900)), _TRITON
        )
