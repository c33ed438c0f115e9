"""What each engine's flags make of a GPU's memory: the share it takes, what it keeps for itself, what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from serving.engines import name_given
from serving.errors import ServingError
from serving.recipe import Recipe
from serving.recipe_sections import FlagValue

GIB = 2**30
_MIB = 2**20

# Of the maker's figure, what is left for an engine once the driver and its own context are there: measured before
# loading, 139.07 GiB of an H200 (141). A B200 (180) shows 183,359 MiB, of which the same share is 177.4 GiB.
USABLE = 0.9864

# SGLang keeps at least so much out of mem-fraction-static on GPUs above 60 GB when it picks the value itself.
_LEAST_MARGIN = 10 * GIB

# vLLM's own: what a published start has beside weights and KV cache, see docs/memory.md.
_VLLM_FIXED = 4.2 * GIB
_VLLM_PER_TOKEN = 1.0 * _MIB


@dataclass(frozen=True)
class Plan:
    """Bytes of one GPU. The margin is inside of `fraction` for vLLM, which measures it, and outside for SGLang."""

    weights: int
    draft: int
    fraction: float
    fraction_flag: str
    fraction_given: bool
    """Or else the engine's own choice, which keeps the margin by itself."""
    parallel_flag: str
    margin: int
    margin_note: str
    least_margin: int
    """Less than this beside weights and pool is refused."""
    margin_inside: bool
    asked_tokens: int | None
    """A limit that the flags set to the pool."""
    pool_flag: str
    context_flag: str
    requests: int | None
    requests_flag: str
    needs_full_context: bool
    """The engine refuses to start unless one request of the longest length fits."""

    @property
    def reserved(self) -> int:
        return self.margin if self.margin_inside else 0


def plan(recipe: Recipe) -> Plan:
    """Raises ServingError where the flags use what isn't modelled, or aren't numbers."""
    return _ENGINES[recipe.engine.name](recipe)


def _sglang(recipe: Recipe) -> Plan:
    flags = recipe.engine.flags
    _refuse(recipe, ("enable-dp-attention", "pp-size", "pipeline-parallel-size", "dp", "dp-size", "data-parallel-size",
                     "dcp-size", "decode-context-parallel-size", "attn-cp-size", "attention-context-parallel-size",
                     "speculative-draft-model-path", "speculative-draft-model", "cpu-offload-gb", "enable-dp-lm-head",
                     "moe-dense-tp-size"))  # fmt: skip
    margin = _sglang_margin(recipe)
    return Plan(
        weights=_weights(recipe),
        draft=_draft(recipe, own_embedding=True),
        fraction=number(flags, "mem-fraction-static", round(1 - margin / (recipe.gpu.memory_gb * GIB), 3)),
        fraction_flag="mem-fraction-static",
        fraction_given="mem-fraction-static" in flags,
        parallel_flag=name_given(flags, recipe.engine_module.TENSOR_PARALLEL),
        margin=margin,
        margin_note="activations, CUDA graphs, communication: SGLang's rule",
        least_margin=min(_LEAST_MARGIN, int(recipe.gpu.memory_gb * GIB / 8)),
        margin_inside=False,
        asked_tokens=int(number(flags, "max-total-tokens", 0)) or None,
        pool_flag="max-total-tokens",
        context_flag="context-length",
        requests=int(number(flags, "max-running-requests", 0)) or None,
        requests_flag="max-running-requests",
        needs_full_context=False,
    )


def _sglang_margin(recipe: Recipe) -> int:
    """Bytes that SGLang 0.5.10 itself keeps out of weights and KV pool (server_args.py:1280): its rule of thumb for
    activations of one prefill chunk, CUDA graphs, communication and drafting."""
    flags, large = recipe.engine.flags, recipe.gpu.memory_gb >= 160
    tp = recipe.engine_module.tensor_parallel(flags)
    chunk = number(flags, "chunked-prefill-size", 16384 if large else 8192)
    chunk = chunk if chunk > 0 else number(flags, "max-prefill-tokens", 16384)
    graphs = number(flags, "cuda-graph-max-bs", 512 if large or tp >= 4 else 256)
    mib = 512 + max(chunk, 2048) * 1.5 + graphs * 2 + tp / 8 * 1024
    mib += 0 if flags.get("disable-piecewise-cuda-graph") else 1536
    if recipe.gpu.memory_gb > 60:
        mib = max(mib, _LEAST_MARGIN / _MIB)
    mib += 4096 if recipe.speculates else 0
    return int(mib * _MIB)


def _vllm(recipe: Recipe) -> Plan:
    flags = recipe.engine.flags
    _refuse(recipe, ("pipeline-parallel-size", "data-parallel-size", "decode-context-parallel-size",
                     "prefill-context-parallel-size", "cpu-offload-gb",
                     "enable-lora", "kv-offloading-size", "num-gpu-blocks-override"))  # fmt: skip
    if "model" in _drafting(flags):
        raise ServingError(f"{recipe.name}: the memory fit doesn't know a draft model of its own; measure")
    batched = number(flags, "max-num-batched-tokens", 8192 if recipe.gpu.memory_gb >= 70 else 2048)
    kv_bytes = number(flags, "kv-cache-memory-bytes", 0)
    return Plan(
        weights=_weights(recipe),
        draft=_draft(recipe, own_embedding=False),
        fraction=number(flags, "gpu-memory-utilization", 0.92),
        fraction_flag="gpu-memory-utilization",
        fraction_given="gpu-memory-utilization" in flags,
        parallel_flag=name_given(flags, recipe.engine_module.TENSOR_PARALLEL),
        margin=int(_VLLM_FIXED + batched * _VLLM_PER_TOKEN),
        margin_note="activations, workspaces, communication: from a published start",
        least_margin=0,
        margin_inside=True,
        asked_tokens=int(kv_bytes // recipe.kv_bytes_per_token) if kv_bytes else None,
        pool_flag="kv-cache-memory-bytes",
        context_flag="max-model-len",
        requests=recipe.engine_module.most_requests(recipe),
        requests_flag="max-num-seqs",
        needs_full_context=True,
    )


_ENGINES = {"sglang": _sglang, "vllm": _vllm}


def _weights(recipe: Recipe) -> int:
    """Without dimensions: the checkpoint, shared out evenly, MTP layers included."""
    tp = recipe.engine_module.tensor_parallel(recipe.engine.flags)
    model = recipe.model.architecture
    return model.target_bytes(tp) if model else int(recipe.model.size_gb * 1e9 / tp)


def _draft(recipe: Recipe, *, own_embedding: bool) -> int:
    """SGLang loads the MTP layers with an embedding and head of their own; vLLM shares the target's."""
    model = recipe.model.architecture
    if model is None or not recipe.speculates:
        return 0
    tp = recipe.engine_module.tensor_parallel(recipe.engine.flags)
    return model.draft_bytes(tp) if own_embedding else model.num_nextn_predict_layers * model.mtp_layer_bytes(tp)


def _drafting(flags: dict[str, FlagValue]) -> dict[str, object]:
    given = flags.get("speculative-config")
    try:
        document = json.loads(given) if isinstance(given, str) and given not in ("", "None") else given
    except ValueError as error:
        raise ServingError(f"--speculative-config is {given!r}: no JSON ({error})") from None
    dotted = {name.partition(".")[2]: flags[name] for name in flags if name.startswith("speculative-config.")}
    if "spec-model" in flags:
        dotted["model"] = flags["spec-model"]
    return {**(document if isinstance(document, dict) else {}), **dotted}


def _refuse(recipe: Recipe, names: tuple[str, ...]) -> None:
    flags = recipe.engine.flags
    if strange := [name for name in names if flags.get(name) is True or flags.get(name) not in (None, False, 0, 1)]:
        raise ServingError(f"{recipe.name}: the memory fit doesn't know {', '.join(strange)}; start without or measure")


_FACTORS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_SGLANG_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def number(flags: dict[str, FlagValue], name: str, default: float) -> float:
    """A flag's number; text with a suffix as the engine takes it. Raises ServingError."""
    value = flags.get(name, default)
    if isinstance(value, bool | list | dict):
        raise ServingError(f"--{name} is {value!r}: the memory fit needs a number")
    if not isinstance(value, str):
        return value
    factors = _SGLANG_FACTORS if name in ("max-total-tokens", "context-length") else _FACTORS
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", value)
    if found is None or (found[2] and found[2] not in factors):
        raise ServingError(f"--{name} is {value!r}: the memory fit needs a number")
    return float(found[1]) * factors.get(found[2], 1)
