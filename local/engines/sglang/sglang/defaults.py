"""What SGLang fills in, depending on the GPU, and says before it logs its arguments.

The sparse attention's options are called nsa up to 0.5.13 and dsa from 0.5.14 on, and so are the lines about them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from standin.log import log

if TYPE_CHECKING:
    from sglang.arguments import ServerArgs


def fill(args: ServerArgs) -> None:
    args.tokenizer_path = args.tokenizer_path or args.model_path
    args.served_model_name = args.served_model_name or args.model_path
    args.device = args.device or "cuda"
    args.random_seed = args.random_seed if args.random_seed is not None else int.from_bytes(os.urandom(3), "big")
    args.page_size = args.page_size or 64
    major = int(args.gpu.architecture[:-1])
    _attention(args, major)
    _speculative(args)
    if "flashinfer_allreduce_fusion_backend" in args.to_json() and args.enable_flashinfer_allreduce_fusion:
        if _name(args) == "dsa":
            log(
                "--enable-flashinfer-allreduce-fusion is deprecated. "
                "Please use --flashinfer-allreduce-fusion-backend=auto instead."
            )
        args.flashinfer_allreduce_fusion_backend = args.flashinfer_allreduce_fusion_backend or "auto"
    args.mem_fraction_static = args.mem_fraction_static or 0.88
    args.max_running_requests = args.max_running_requests or 48
    args.chunked_prefill_size = args.chunked_prefill_size or 8192
    args.max_prefill_tokens = args.max_prefill_tokens or 16384


def _name(args: ServerArgs) -> str:
    return "dsa" if "dsa_prefill_backend" in args.to_json() else "nsa"


def _attention(args: ServerArgs, major: int) -> None:
    name = _name(args)
    if args.attention_backend is None:
        log(f"Use {name} attention backend for DeepSeek with DSA.")
    # The former name is still accepted.
    args.attention_backend = name
    log("Setting page size to 64 for DeepSeek DSA.")
    if name == "nsa" and major >= 10:
        log("Force NSA prefill to use sparse MLA (i.e. disable MHA_ONE_SHOT) for GlmMoeDsaForCausalLM on Blackwell.")
    else:
        log("Set dense attention kv len threshold to model index_topk=2048 for DeepSeek with DSA.")
    prefill, decode = (args.get(f"{name}_{part}_backend") for part in ("prefill", "decode"))
    if args.kv_cache_dtype == "auto":
        if prefill or decode:
            log(
                f"When specifying --{name}-prefill-backend or --{name}-decode-backend, you should also explicitly set "
                "--kv-cache-dtype (e.g., 'fp8_e4m3' or 'bfloat16'). DeepSeek V3.2 defaults to FP8 KV cache which may "
                "not be compatible with all backends."
            )
        args.kv_cache_dtype = "fp8_e4m3" if major >= 10 else "bfloat16"
        log(f"Setting KV cache dtype to {args.kv_cache_dtype} for DeepSeek DSA on SM{major} device.")
    if args.kv_cache_dtype == "bf16":
        args.kv_cache_dtype = "bfloat16"
    prefill, decode = _backends(name, args.kv_cache_dtype, major, prefill, decode)
    setattr(args, f"{name}_prefill_backend", prefill)
    setattr(args, f"{name}_decode_backend", decode)
    log(f"Set {name.upper()} backends for {args.kv_cache_dtype} KV Cache: prefill={prefill}, decode={decode}.")


def _backends(name: str, dtype: str, major: int, prefill: str | None, decode: str | None) -> tuple[str, str]:
    if dtype == "fp8_e4m3":
        if major >= 10:
            # 0.5.10 overrules what was asked for here, 0.5.16 does not.
            return ("trtllm", "trtllm") if name == "nsa" else (prefill or "trtllm", decode or "trtllm")
        return prefill or ("flashmla_auto" if name == "nsa" else "flashmla_kv"), decode or "flashmla_kv"
    return prefill or "flashmla_sparse", decode or ("trtllm" if major >= 10 else "fa3")


def _speculative(args: ServerArgs) -> None:
    variable = os.environ.get("SGLANG_ENABLE_SPEC_V2")
    if not args.speculative_algorithm:
        return
    if _name(args) == "dsa":
        if variable is not None:
            log(
                "SGLANG_ENABLE_SPEC_V2 has been removed: speculative decoding always runs the V2 worker. Use "
                "--disable-overlap-schedule to select the non-overlap (synchronous) path."
            )
    elif (variable or "").lower() not in ("1", "true"):
        args.disable_overlap_schedule = True
        log(
            "Overlap scheduler is disabled when spec v2 is off or using unsupported speculative algorithm. "
            "You can set env SGLANG_ENABLE_SPEC_V2=True to enable the experimental overlap scheduler. "
        )
