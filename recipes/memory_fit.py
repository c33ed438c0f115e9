"""Whether a recipe's model, its KV cache and its working memory fit the recipe's GPUs, before one is paid for.

`python -m recipes.memory_fit RECIPE [--set FLAG=VALUE]...` prints a table and a verdict. Exit status: 0 it fits, 1 it
doesn't, 2 it can't be computed. What is assumed, and how far off it is: docs/memory.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from recipes.memory_plan import GIB, USABLE, Plan, plan
from serving.engines import name_given
from serving.errors import ServingError
from serving.recipe import Recipe, load_recipe

_PAGE = 64  # tokens; the pool is cut to whole pages


@dataclass(frozen=True)
class MemoryFit:
    """Bytes of one GPU and tokens of the KV pool, which every GPU holds in full. `problem` is None when it fits."""

    plan: Plan
    memory: int
    kv_bytes_per_token: int
    fitting_tokens: int
    context_tokens: int
    problem: str | None = None
    caution: str | None = None

    @property
    def weights(self) -> int:
        return self.plan.weights

    @property
    def draft(self) -> int:
        return self.plan.draft

    @property
    def margin(self) -> int:
        return self.plan.margin

    @property
    def asked_tokens(self) -> int | None:
        return self.plan.asked_tokens

    @property
    def requests(self) -> int | None:
        return self.plan.requests

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
    planned = plan(recipe)
    memory = int(recipe.gpu.memory_gb * GIB * USABLE)
    # A limit in bytes takes the place of vLLM's fraction; SGLang's limit in tokens only lowers what the fraction gives.
    limit = memory if planned.margin_inside and planned.asked_tokens else int(memory * planned.fraction)
    room = limit - planned.weights - planned.draft - planned.reserved
    fitting = max(0, room // recipe.kv_bytes_per_token // _PAGE * _PAGE)
    # The longest request as far as the flags say; that the pool may be smaller is what the verdict is about.
    try:
        context = recipe.engine_module.longest_request(_without(recipe, "max-total-tokens"))
    except ValueError as error:
        raise ServingError(f"{recipe.name}: {planned.context_flag}: {error}") from None
    fit = MemoryFit(planned, memory, recipe.kv_bytes_per_token, fitting, context)
    model, tp = recipe.model.architecture, recipe.engine_module.tensor_parallel(recipe.engine.flags)
    if model is not None and model.num_attention_heads % tp:
        flag = name_given(recipe.engine.flags, recipe.engine_module.TENSOR_PARALLEL)
        problem: str | None = (
            f"{flag} {tp} doesn't divide the model's {model.num_attention_heads} attention heads: change {flag}"
        )
    else:
        problem = _problem(fit)
    return replace(fit, problem=problem, caution=None if problem else _caution(fit))


def _without(recipe: Recipe, flag: str) -> Recipe:
    return recipe.with_engine_args({flag: None}) if flag in recipe.engine.flags else recipe


def _problem(fit: MemoryFit) -> str | None:
    planned, static = fit.plan, fit.weights + fit.draft
    flag = planned.fraction_flag
    kept = max(planned.least_margin, planned.reserved)
    largest = 1 - planned.least_margin / fit.memory
    if static > fit.memory - kept:
        return (
            f"weights alone take {_gib(static)} of {_gib(fit.memory)} GiB per GPU, and {_gib(kept)} must stay "
            f"free: change {planned.parallel_flag} with gpu.count (more GPUs), or gpu.type (larger ones)"
        )
    if planned.margin_inside and planned.fraction > _LARGEST_UTILIZATION:
        return (
            f"{flag} {planned.fraction:g} is more than vLLM finds free at its start: lower it to {_LARGEST_UTILIZATION}"
        )
    wanted = fit.asked_tokens or (fit.context_tokens if planned.needs_full_context else fit.requests or 1)
    needed = (static + planned.reserved + (wanted + _PAGE) * fit.kv_bytes_per_token) / fit.memory
    raised = f"raise {flag} from {planned.fraction:g} to at least {needed + 0.0005:.3f}"
    reachable = needed + 0.0005 <= (_LARGEST_UTILIZATION if planned.margin_inside else largest)
    if fit.fitting_tokens < 1:
        otherwise = (
            "more or larger GPUs" if planned.margin_inside else f"leave out {planned.pool_flag} and raise {flag}"
        )
        remedy = raised if reachable else otherwise
        return f"weights fill {flag} {planned.fraction:g}, which covers the KV pool, too: {remedy}"
    if fit.asked_tokens and fit.asked_tokens > fit.fitting_tokens:
        also = f", or {raised}" if reachable and not planned.margin_inside else ""
        most = fit.fitting_tokens * (fit.kv_bytes_per_token if planned.margin_inside else 1)
        return (
            f"{fit.asked_tokens:,} tokens are asked for, {fit.fitting_tokens:,} fit: lower {planned.pool_flag} to "
            f"{most}{also}"
        )
    if planned.needs_full_context and fit.context_tokens > fit.tokens:
        also = f", or {raised}" if reachable and not fit.asked_tokens else ""
        return (
            f"one request may have {fit.context_tokens:,} tokens, {fit.tokens:,} fit, and the engine refuses to start: "
            f"lower {planned.context_flag} to {fit.tokens}{also}"
        )
    if fit.left < planned.least_margin:
        lower = (fit.memory - planned.least_margin) / fit.memory
        return (
            f"only {_gib(fit.left)} GiB are left for activations and graphs, SGLang keeps {_gib(planned.least_margin)} "
            f"at the least: lower {flag} to {int(lower * 1000) / 1000:g}"
        )
    return None


# With more vLLM refuses to start: the driver and its own context are in use already (vllm/v1/worker/utils.py:414).
_LARGEST_UTILIZATION = 0.985


def _caution(fit: MemoryFit) -> str | None:
    planned = fit.plan
    if planned.fraction_given and not planned.margin_inside and fit.free < 0:
        return (
            f"{_gib(fit.left)} GiB are left for activations and graphs, SGLang's own default would be "
            f"{_gib(fit.margin)}: on out-of-memory lower mem-fraction-static or chunked-prefill-size"
        )
    if fit.full_contexts < 1:
        raise_it = f": raise {planned.pool_flag}, or lower {planned.context_flag}"
        return (
            f"a request can't be longer than {fit.tokens:,} tokens, though {planned.context_flag} admits "
            f"{fit.context_tokens:,}"
            + (raise_it if fit.tokens < fit.fitting_tokens else f": lower {planned.context_flag}")
        )
    return None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def report(recipe: Recipe, fit: MemoryFit) -> str:
    """The table and, last, the verdict."""
    planned = fit.plan
    title = recipe.engine_module.TITLE
    drafting = ", drafting with the MTP layer" if recipe.speculates else ""
    source = planned.fraction_flag if planned.fraction_given else f"{title}'s default fraction"
    less = "the weights and the margin" if planned.margin_inside else "the weights"
    sized = "" if recipe.model.architecture else "the checkpoint's size, shared out: no dimensions in the recipe"
    rows = [
        ("per GPU", "GiB", ""),
        ("  memory", _gib(fit.memory), f"what an engine finds on a {recipe.gpu.type} of {recipe.gpu.memory_gb:g}"),
        ("  weights", _gib(fit.weights), sized),
        *([("  draft weights", _gib(fit.draft), "MTP layer")] if fit.draft else []),
        ("  KV pool", _gib(fit.pool), f"{fit.tokens:,} tokens x {fit.kv_bytes_per_token:,} B, on every GPU"),
        ("  margin", _gib(fit.margin), planned.margin_note),
        ("  free", _gib(fit.free), "" if fit.free >= 0 else "less than SGLang's rule keeps"),
        ("KV pool", "tokens", ""),
        ("  fits", f"{fit.fitting_tokens:,}", f"{source} {planned.fraction:.3g} of the memory, less {less}"),
        *([("  asked for", f"{fit.asked_tokens:,}", planned.pool_flag)] if fit.asked_tokens else []),
        ("context x concurrency", "", ""),
        *([("  all at once", f"{fit.requests} x {fit.tokens_per_request:,}", planned.requests_flag)]
          if fit.requests else []),
        ("  full context", f"{fit.full_contexts} x {fit.context_tokens:,}", ""),
    ]  # fmt: skip
    lines = [
        f"{recipe.name}: {recipe.gpu.count} x {recipe.gpu.type}, {title}, {recipe.kv_cache_dtype} KV cache{drafting}",
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
