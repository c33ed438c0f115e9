"""Which kernels a model needs on these GPUs with these flags, when it needs them, and where they are cached.

The GEMM shapes follow from config.json and the tensor-parallel size as in the real engine. Names and layout of the
other caches' files are plausible rather than exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standin.kernels import Kernel, cache_root, digest

from sglang.arguments import ServerArgs
from sglang.version import __version__

BUCKETS = (64, 128, 256, 1024, 2048, 16384)
"""Batch sizes up to which one DeepGEMM kernel serves: a prompt in a bucket without its kernel waits for it."""

# Seconds on the real engine's clock; STANDIN_SPEED divides them.
_BUCKET_SECONDS = 0.6
_TVM_SECONDS = 2.5
_FLASHINFER_SECONDS = 3.0
_TRITON_SECONDS = 1.2


@dataclass(frozen=True)
class Shape:
    n: int
    k: int
    stage: str
    """`capture` (while CUDA graphs are captured), `draft` (while the draft model's are) or `prefill`."""
    buckets: tuple[tuple[int, Kernel], ...]

    def kernel_for(self, tokens: int) -> Kernel:
        return next((kernel for bound, kernel in self.buckets if tokens <= bound), self.buckets[-1][1])

    def memory_gb(self, largest: int) -> float:
        """What its inputs and output take at the largest batch size, in GiB."""
        return (largest * self.k + self.n * self.k + largest * self.n * 2) / 2**30


def gemm_shapes(config: dict[str, Any], args: ServerArgs) -> list[Shape]:
    """The FP8 GEMMs of one rank, in the order in which a start meets them."""
    tp = args.tp_size
    heads = config["num_attention_heads"] // tp or 1
    hidden, q_lora, kv_lora = config["hidden_size"], config["q_lora_rank"], config["kv_lora_rank"]
    rope, nope, value = config["qk_rope_head_dim"], config["qk_nope_head_dim"], config["v_head_dim"]
    dense, expert = config["intermediate_size"], config["moe_intermediate_size"]
    sizes = [
        (q_lora + kv_lora + rope, hidden, "capture"),
        (heads * (nope + rope), q_lora, "capture"),
        (config["index_n_heads"] * config["index_head_dim"], q_lora, "capture"),
        (hidden, heads * value, "capture"),
        (2 * dense // tp, hidden, "capture"),
        (hidden, dense // tp, "capture"),
    ]
    if args.speculative_algorithm:
        sizes += [(2 * expert // tp, hidden, "draft"), (hidden, expert // tp, "draft")]
    sizes.append((heads * (nope + value), kv_lora, "prefill"))
    return [Shape(n, k, stage, tuple((bound, _gemm(args, n, k, bound)) for bound in BUCKETS)) for n, k, stage in sizes]


def other_kernels(config: dict[str, Any], args: ServerArgs) -> dict[str, list[Kernel]]:
    """tvm-ffi, flashinfer and Triton kernels by what needs them first.

    `capture`: CUDA graphs; `prefill`: any prompt; `long` and `sparse`: prompts above 1,024 and 2,048 tokens;
    `batch`: eight requests at once.
    """
    facts = (__version__, args.gpu.architecture, args.tp_size, config["hidden_size"], args.kv_cache_dtype)
    found: dict[str, list[Kernel]] = {
        "prefill": [
            _tvm("fused_rope", facts),
            _flashinfer("sampling", args, facts),
            _triton("_per_token_group_quant_8bit", facts),
            _triton("fused_moe_kernel", facts),
        ],
        "capture": [
            _tvm("nsa_fused_store_cache", facts),
            _tvm("fused_qk_norm", facts),
            _triton("_get_k_and_s_triton_kernel", facts),
        ],
        "long": [_tvm("nsa_topk_transform", facts), _triton("_fused_moe_large_block", facts)],
        "sparse": [_triton("_sparse_prefill_gather", facts)],
        "batch": [_triton("compute_position_kernel", facts)],
    }
    backends = (
        args.get("nsa_prefill_backend", "dsa_prefill_backend"),
        args.get("nsa_decode_backend", "dsa_decode_backend"),
    )
    if "trtllm" in backends:
        found["prefill"].append(_flashinfer("fmha_gen", args, facts))
    if str(args.moe_runner_backend).startswith("flashinfer"):
        found["prefill"].append(_flashinfer(f"fused_moe_{args.moe_runner_backend}", args, facts))
    if args.enable_flashinfer_allreduce_fusion or args.get("flashinfer_allreduce_fusion_backend"):
        found["capture"].append(_flashinfer("trtllm_comm", args, facts))
    if args.speculative_algorithm:
        found["capture"].append(_triton("build_tree_kernel_efficient", (*facts, args.speculative_num_draft_tokens)))
    return found


def _gemm(args: ServerArgs, n: int, k: int, bound: int) -> Kernel:
    architecture = args.gpu.architecture
    hashed = digest(__version__, architecture, n, k, bound)[:32]
    kind = "1d1d" if architecture == "100" else "1d2d"
    folder = cache_root("SGLANG_DG_CACHE_DIR", "~/.cache/deep_gemm")
    folder = folder / "cache" / f"kernel.sm{architecture}_fp8_gemm_{kind}.{hashed}"
    return Kernel(
        ((folder / "kernel.cu", 1408), (folder / "kernel.cubin", 60_000 + int(hashed[:3], 16))), _BUCKET_SECONDS
    )


def _tvm(name: str, facts: tuple[object, ...]) -> Kernel:
    module = f"sgl_kernel_jit_{name}_{digest(name, *facts)[:16]}"
    path = cache_root("TVM_FFI_CACHE_DIR", "~/.cache/tvm-ffi") / module / f"{module}.so"
    return Kernel(((path, 180_000),), _TVM_SECONDS)


def _flashinfer(name: str, args: ServerArgs, facts: tuple[object, ...]) -> Kernel:
    root = cache_root("FLASHINFER_WORKSPACE_BASE", "~") / ".cache" / "flashinfer"
    operation = f"{name}_{digest(name, *facts)[:8]}"
    folder: Path = root / "0.6.7" / f"{args.gpu.architecture}a" / "cached_ops" / operation
    return Kernel(((folder / f"{operation}.so", 420_000), (folder / "build.ninja", 2_300)), _FLASHINFER_SECONDS)


def _triton(name: str, facts: tuple[object, ...]) -> Kernel:
    folder = cache_root("TRITON_CACHE_DIR", "~/.triton/cache") / digest(name, *facts)[:52].upper()
    return Kernel(((folder / f"{name}.cubin", 24_000), (folder / f"{name}.json", 900)), _TRITON_SECONDS)
