"""What vLLM decides from its options and the model before it starts an engine, and what it refuses then."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from standin.arguments import read_catalogue
from standin.checkpoint import read_config
from standin.environment import Gpu, gpu

from vllm import log
from vllm.model_files import find_model
from vllm.version import __version__

_BLOCK = 64
_FP8_ENTRY = 656
"""Bytes of an fp8_ds_mla entry: 512 of FP8 latent, 16 of scales, 128 of BF16 rope."""


@dataclass(frozen=True)
class EngineConfig:
    args: argparse.Namespace
    non_default: dict[str, Any]
    folder: Path
    """Where the model's files are."""
    model: dict[str, Any]
    """Its config.json."""
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    speculative_tokens: int
    """0 without speculative decoding."""
    gpu: Gpu

    @property
    def names(self) -> list[str]:
        """Names that requests may use; answers and metrics carry the first."""
        return self.args.served_model_name or [self.args.model]

    @property
    def tp(self) -> int:
        return self.args.tensor_parallel_size

    @property
    def block_size(self) -> int:
        return int(self.args.block_size or _BLOCK)

    @property
    def kv_bytes_per_token(self) -> int:
        """One token's KV cache on each rank, all layers."""
        if self.args.kv_cache_dtype.startswith("fp8"):
            latent = _FP8_ENTRY
        else:
            latent = 2 * (self.model["kv_lora_rank"] + self.model["qk_rope_head_dim"])
        layers = self.model["num_hidden_layers"] + (1 if self.speculative_tokens else 0)
        return (latent + self.model["index_head_dim"] + 4) * layers


def check_frontend(args: argparse.Namespace) -> None:
    """What is refused before anything is read. Raises TypeError and KeyError."""
    if args.enable_auto_tool_choice and not args.tool_call_parser:
        raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")
    if args.enable_log_outputs and not args.enable_log_requests:
        raise TypeError("Error: --enable-log-outputs requires --enable-log-requests")


def check_parsers(args: argparse.Namespace) -> None:
    """Raises KeyError for a parser that the release does not have."""
    for dest, kind, wanted in (
        ("tool_call_parser", "tool call", args.tool_call_parser if args.enable_auto_tool_choice else None),
        ("reasoning_parser", "reasoning", args.reasoning_parser),
    ):
        option = _options()[dest]
        known = option.get("built_in", ())
        if wanted and known and wanted not in known and not getattr(args, f"{kind.split()[0]}_parser_plugin", None):
            raise KeyError(f"invalid {kind} parser: {wanted} (chose from {{ {','.join(known)} }})")


def create(args: argparse.Namespace, non_default: dict[str, Any]) -> EngineConfig:
    """Raises ValueError, OSError or the exceptions of model_files."""
    folder = find_model(args)
    model = read_config(folder)
    log.info("model.py:611", f"Resolved architecture: {model['architectures'][0]}")
    longest = _max_model_len(args, model)
    log.info("model.py:1745", f"Using max model len {longest}")
    if args.kv_cache_dtype.startswith("fp8"):
        log.info(
            "cache.py:261",
            "Using fp8 data type to store kv cache. It reduces the GPU memory footprint and boosts the performance. "
            "Meanwhile, it may cause accuracy drop without a proper scaling factor",
        )
    present = gpu(args.tensor_parallel_size)
    world = args.tensor_parallel_size * args.pipeline_parallel_size
    if present.count < world:
        raise ValueError(
            f"World size ({world}) is larger than the number of available GPUs ({present.count}) in this node. If this "
            "is intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.\n- multiprocessing, "
            "set '--nnodes' appropriately."
        )
    drafts = _speculative(args, model)
    batched = args.max_num_batched_tokens or 8192
    log.info("scheduler.py:239", f"Chunked prefill is enabled with max_num_batched_tokens={batched}.")
    if args.async_scheduling is not False:
        log.info("vllm.py:999", "Asynchronous scheduling is enabled.")
    if args.enforce_eager:
        log.warning(
            "vllm.py:1055",
            "Enforce eager set, disabling torch.compile and CUDAGraphs. This is equivalent to setting "
            "-cc.mode=none -cc.cudagraph_mode=none",
        )
    seqs = args.max_num_seqs or 1024
    return EngineConfig(args, non_default, folder, model, longest, seqs, batched, drafts, present)


def _max_model_len(args: argparse.Namespace, model: dict[str, Any]) -> int:
    derived = int(model["max_position_embeddings"])
    wanted = args.max_model_len
    if wanted is None or wanted == -1:
        return derived
    if wanted > derived and os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") != "1":
        raise ValueError(
            f"User-specified max_model_len ({wanted}) is greater than the derived max_model_len "
            f"(max_position_embeddings={derived} or model_max_length=None in model's config.json). To allow overriding "
            "this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used "
            "with extreme caution. If the model uses relative position encoding (RoPE), positions exceeding "
            "derived_max_model_len lead to nan. If the model uses absolute position encoding, positions exceeding "
            "derived_max_model_len will cause a CUDA array out-of-bounds error."
        )
    return int(wanted)


def _speculative(args: argparse.Namespace, model: dict[str, Any]) -> int:
    """Drafted tokens per step. Raises ValueError in pydantic's words for keys and values that it would refuse."""
    config = args.speculative_config
    if config is None:
        return 0
    if not isinstance(config, dict):
        raise ValueError(f"speculative_config must be a JSON object, got {config!r}")
    for key, value in config.items():
        known = _options()["speculative_config"]["keys"]
        if key not in known:
            raise ValueError(_pydantic(key, "Unexpected keyword argument", "unexpected_keyword_argument", value))
        choices = known[key].get("choices")
        if choices and value is not None and value not in choices:
            expected = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
            raise ValueError(_pydantic(key, f"Input should be {expected}", "literal_error", value))
    tokens = config.get("num_speculative_tokens")
    method = config.get("method")
    if method is None and config.get("model") is None:
        raise ValueError("num_speculative_tokens was provided but without speculative model.")
    if method != "mtp":
        raise ValueError(f"stand-in: speculative method {method!r} has no stand-in; 'mtp' has")
    if not model.get("num_nextn_predict_layers"):
        raise ValueError("the model has no MTP layer (num_nextn_predict_layers in its config.json)")
    tokens = tokens or 1
    if tokens > 1:
        log.warning(
            "speculative.py:723",
            "Enabling num_speculative_tokens > 1 will run multiple times of forward on same MTP layer,which may result "
            "in lower acceptance rate",
        )
    return int(tokens)


def _pydantic(key: str, message: str, kind: str, value: Any) -> str:
    return (
        f"1 validation error for SpeculativeConfig\n{key}\n  {message} [type={kind}, input_value={value!r}, "
        f"input_type={type(value).__name__}]"
    )


@cache
def _options() -> dict[str, dict[str, Any]]:
    return {option["dest"]: option for option in read_catalogue("vllm", __version__)["flags"]}
