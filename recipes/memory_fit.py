"""Whether a recipe's model, its KV cache and its working memory fit the recipe's GPUs, before one is paid for.

`python -m recipes.memory_fit RECIPE [--set FLAG=VALUE]...` prints a table and a verdict. Exit status: 0 it fits, 1 it
doesn't, 2 it can't be computed. What is assumed, and how far off it is: docs/memory.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ServingError
from serving.recipe import FlagValue, Recipe, load_recipe

GIB = 2**30
_MIB = 2**20

# Of the maker's figure, what is left for an engine once the driver and its own context are there: measured before
# loading, 139.07 GiB of an H200 (141). A B200 (180) shows 183,359 MiB, of which the same share is 177.4 GiB.
_USABLE = 0.9864

# SGLang keeps at least so much out of mem-fraction-static on GPUs above 60 GB when it picks the value itself.
_LEAST_MARGIN = 10 * GIB

_PAGE = 64  # tokens; the pool is cut to whole pages

_NOT_MODELLED = ("enable-dp-attention", "pp-size", "pipeline-parallel-size", "speculative-draft-model-path",
                 "cpu-offload-gb", "enable-dp-lm-head", "moe-dense-tp-size")  # fmt: skip


@dataclass(frozen=True)
class MemoryFit:
    """Bytes of one GPU and tokens of the KV pool, which every GPU holds in full. `problem` is None when it fits."""

    memory: int
    weights: int
    draft: int
    static_fraction: float
    kv_bytes_per_token: int
    fitting_tokens: int
    asked_tokens: int | None
    margin: int
    context_tokens: int
    requests: int | None
    problem: str | None = None
    caution: str | None = None

    @property
    def tokens(self) -> int:
        """What the engine really sets up: never more than fits, whatever is asked."""
        return self.fitting_tokens if self.asked_tokens is None else min(self.fitting_tokens, self.asked_tokens)

    @property
    def pool(self) -> int:
        return self.tokens * self.kv_bytes_per_token

    @property
    def left(self) -> int:
        """Beside weights and pool: what graphs, activations and communication live in."""
        return self.memory - self.weights - self.draft - self.pool

    @property
    def free(self) -> int:
        """What nothing is planned for; negative when the margin is larger than what is left."""
        return self.left - self.margin

    @property
    def tokens_per_request(self) -> int:
        """With as many requests as the flags admit, all of the same length."""
        return min(self.context_tokens, self.tokens // (self.requests or 1))

    @property
    def full_contexts(self) -> int:
        return self.tokens // self.context_tokens


def fit_memory(recipe: Recipe) -> MemoryFit:
    """Raises ServingError where the recipe says too little, or uses what isn't modelled."""
    model, flags = recipe.model.architecture, recipe.engine.flags
    if model is None:
        raise ServingError(
            f"{recipe.name}: no memory fit without the model's dimensions. Add model.architecture to the recipe, "
            "from the config.json of its repository"
        )
    if recipe.engine.name != "sglang":
        raise ServingError(f"{recipe.name}: the memory fit knows SGLang's flags, not those of {recipe.engine.name}")
    if strange := [name for name in _NOT_MODELLED if flags.get(name)]:
        raise ServingError(f"{recipe.name}: the memory fit doesn't know {', '.join(strange)}; start without or measure")
    tp = int(_number(flags, "tp", 1))
    memory = int(recipe.gpu.memory_gb * GIB * _USABLE)
    weights, draft = model.target_bytes(tp), model.draft_bytes(tp) if recipe.speculates else 0
    margin = _engine_margin(recipe, tp)
    fraction = _number(flags, "mem-fraction-static", round(1 - margin / (recipe.gpu.memory_gb * GIB), 3))
    room = int(memory * fraction) - weights - draft
    fitting = max(0, room // recipe.kv_bytes_per_token // _PAGE * _PAGE)
    asked = int(_number(flags, "max-total-tokens", 0)) or None
    context = int(_number(flags, "context-length", recipe.model.context_tokens))
    requests = int(_number(flags, "max-running-requests", 0)) or None

    def fit(problem: str | None = None, caution: str | None = None) -> MemoryFit:
        return MemoryFit(
            memory, weights, draft, fraction, recipe.kv_bytes_per_token, fitting, asked, margin, context, requests,
            problem, caution,
        )  # fmt: skip

    if model.num_attention_heads % tp:
        return fit(f"tp {tp} doesn't divide the model's {model.num_attention_heads} attention heads: change tp")
    return fit(_problem(fit()), _caution(fit()))


def _number(flags: dict[str, FlagValue], name: str, default: float) -> float:
    value = flags.get(name, default)
    if isinstance(value, bool | str):
        raise ServingError(f"--{name} is {value!r}: the memory fit needs a number")
    return value


def _engine_margin(recipe: Recipe, tp: int) -> int:
    """Bytes that SGLang 0.5.10 itself keeps out of weights and KV pool (server_args.py:1280): its rule of thumb for
    activations of one prefill chunk, CUDA graphs, communication and drafting."""
    flags, large = recipe.engine.flags, recipe.gpu.memory_gb >= 160
    chunk = _number(flags, "chunked-prefill-size", 16384 if large else 8192)
    chunk = chunk if chunk > 0 else _number(flags, "max-prefill-tokens", 16384)
    graphs = _number(flags, "cuda-graph-max-bs", 512 if large or tp >= 4 else 256)
    mib = 512 + max(chunk, 2048) * 1.5 + graphs * 2 + tp / 8 * 1024
    mib += 0 if flags.get("disable-piecewise-cuda-graph") else 1536
    mib = max(mib, _LEAST_MARGIN / _MIB) + (4096 if recipe.speculates else 0)
    return int(mib * _MIB)


def _problem(fit: MemoryFit) -> str | None:
    static = fit.weights + fit.draft
    largest = 1 - _LEAST_MARGIN / fit.memory
    if static > largest * fit.memory:
        return (
            f"weights alone take {_gib(static)} of {_gib(fit.memory)} GiB per GPU, and {_gib(_LEAST_MARGIN)} must stay "
            "free: change tp with gpu.count (more GPUs), or gpu.type (larger ones)"
        )
    wanted = fit.asked_tokens or fit.requests or 1
    needed = (static + (wanted + _PAGE) * fit.kv_bytes_per_token) / fit.memory
    raised = f"raise mem-fraction-static from {fit.static_fraction:g} to at least {needed + 0.0005:.3f}"
    if fit.fitting_tokens < 1:
        remedy = raised if needed <= largest else "leave out max-total-tokens and raise mem-fraction-static"
        return f"weights fill mem-fraction-static {fit.static_fraction:g}, which covers the KV pool, too: {remedy}"
    if fit.asked_tokens and fit.asked_tokens > fit.fitting_tokens:
        also = f", or {raised}" if needed <= largest else ""
        return (
            f"{fit.asked_tokens:,} tokens are asked for, {fit.fitting_tokens:,} fit: lower max-total-tokens to "
            f"{fit.fitting_tokens}{also}"
        )
    if fit.left < _LEAST_MARGIN:
        lower = (fit.memory - _LEAST_MARGIN) / fit.memory
        return (
            f"only {_gib(fit.left)} GiB are left for activations and graphs, SGLang keeps {_gib(_LEAST_MARGIN)} at the "
            f"least: lower mem-fraction-static to {int(lower * 1000) / 1000:g}"
        )
    return None


def _caution(fit: MemoryFit) -> str | None:
    if fit.free < 0:
        return (
            f"{_gib(fit.left)} GiB are left for activations and graphs, SGLang's own default would be "
            f"{_gib(fit.margin)}: on out-of-memory lower mem-fraction-static or chunked-prefill-size"
        )
    if fit.full_contexts < 1:
        return (
            f"a request can't be longer than {fit.tokens:,} tokens, though the model reads {fit.context_tokens:,}"
            + (": raise max-total-tokens" if fit.tokens < fit.fitting_tokens else "")
        )
    return None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def report(recipe: Recipe, fit: MemoryFit) -> str:
    """The table and, last, the verdict."""
    drafting = f", {recipe.engine.flags['speculative-algorithm']}" if recipe.speculates else ""
    source = "mem-fraction-static" if "mem-fraction-static" in recipe.engine.flags else "SGLang's default fraction"
    rows = [
        ("per GPU", "GiB", ""),
        ("  memory", _gib(fit.memory), f"what an engine finds on a {recipe.gpu.type} of {recipe.gpu.memory_gb:g}"),
        ("  weights", _gib(fit.weights), ""),
        *([("  draft weights", _gib(fit.draft), "MTP layer")] if fit.draft else []),
        ("  KV pool", _gib(fit.pool), f"{fit.tokens:,} tokens x {fit.kv_bytes_per_token:,} B, on every GPU"),
        ("  margin", _gib(fit.margin), "activations, CUDA graphs, communication: SGLang's rule"),
        ("  free", _gib(fit.free), "" if fit.free >= 0 else "less than SGLang's rule keeps"),
        ("KV pool", "tokens", ""),
        ("  fits", f"{fit.fitting_tokens:,}", f"{source} {fit.static_fraction:.3g} of the memory, less the weights"),
        *([("  asked for", f"{fit.asked_tokens:,}", "max-total-tokens")] if fit.asked_tokens else []),
        ("context x concurrency", "", ""),
        *([("  all at once", f"{fit.requests} x {fit.tokens_per_request:,}", "max-running-requests")]
          if fit.requests else []),
        ("  full context", f"{fit.full_contexts} x {fit.context_tokens:,}", ""),
    ]  # fmt: skip
    lines = [
        f"{recipe.name}: {recipe.gpu.count} x {recipe.gpu.type}, {recipe.kv_cache_dtype} KV cache{drafting}",
        *(f"{name:<22}{value:>14}  {note}".rstrip() for name, value, note in rows),
    ]
    if fit.problem:
        lines.append(f"does not fit: {fit.problem}")
    else:
        lines.append(f"fits, but {fit.caution}" if fit.caution else "fits")
    return "\n".join(lines)


def _recipe_path(name: str) -> Path:
    return Path(name) if name.endswith((".yaml", ".yml")) else Path(__file__).parent / f"{name}.yaml"


def main(arguments: list[str] | None = None) -> int:
    import yaml
    from pydantic import ValidationError

    parser = argparse.ArgumentParser(prog="python -m recipes.memory_fit", description="Does a recipe fit its GPUs?")
    parser.add_argument("recipe", help="name of a file in recipes/, or the path of a .yaml file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FLAG=VALUE", help="try another flag; FLAG=null removes it"
    )
    asked = parser.parse_args(arguments)
    if bare := [each for each in asked.set if "=" not in each]:
        parser.error(f"--set {bare[0]}: write FLAG=VALUE, or FLAG=null to remove it")
    try:
        overrides = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in asked.set)}
        recipe = load_recipe(_recipe_path(asked.recipe)).with_engine_args(overrides)
        fit = fit_memory(recipe)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 2
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'recipe'}: {each['msg']}" for each in error.errors())
        print(f"{asked.recipe}: {reasons}", file=sys.stderr)
        return 2
    except (OSError, yaml.YAMLError) as error:
        print(f"{asked.recipe}: {error}", file=sys.stderr)
        return 2
    print(report(recipe, fit))
    return 1 if fit.problem else 0


if __name__ == "__main__":
    raise SystemExit(main())
