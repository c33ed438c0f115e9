"""`capacity`, `region`, `routingRegion` and `gpuSnapshot` of a stack file: what Modal can do, and what it can't."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from components.modal_prices import modal_prices
from recipes.flags import catalogue, combinations
from serving.recipe import Recipe
from serving.recipe_sections import Data


class CapacityConfig(Data):
    """`capacity` of a stack file."""

    gpu_fallbacks: list[str] = Field(default_factory=list)
    nonpreemptible: bool = False
    """Always refused: said here so that who looks for it is told why."""
    nonpreemptible_download: bool = False


def problems(values: Mapping[str, Any], recipe: Recipe | None) -> list[str]:
    """What is wrong with these settings, each with the command that mends it.

    Read from the raw values, so that it is reported together with whatever else is wrong with them; values of a wrong
    type are left to the model. `recipe` is None where it cannot be read: what depends on it is said next time.
    """
    given = values.get("capacity")
    asked: Mapping[str, Any] = given if isinstance(given, dict) else {}
    found = _region_problems(values)
    if _on(asked.get("nonpreemptible")):
        found.append(
            "capacity.nonpreemptible: Modal has it for CPU functions only "
            f"({modal_prices().nonpreemptible.source}): a replica that is preempted is replaced and its start is paid "
            "again; `pulumi config rm --path capacity.nonpreemptible`; for the download alone `pulumi config set "
            "--path capacity.nonpreemptibleDownload true`"
        )
    if recipe is None:
        return found
    fallbacks = asked.get("gpuFallbacks")
    return [*found, *_fallback_problems(_texts(fallbacks), recipe), *_snapshot_problems(values, recipe)]


def _region_problems(values: Mapping[str, Any]) -> list[str]:
    table = modal_prices()
    region = values.get("region")
    asked = [region] if isinstance(region, str) else _texts(region)
    found = [_unknown("region", name, table.regions.names) for name in asked if name not in table.regions.names]
    routing = values.get("routingRegion")
    if isinstance(routing, str) and routing not in table.routing_regions.names:
        found.append(_unknown("routingRegion", routing, table.routing_regions.names))
    return found


def _unknown(key: str, name: str, allowed: list[str]) -> str:
    import difflib  # what is right needs none of it

    near = difflib.get_close_matches(name, allowed, 1)
    return (
        f"{key}: found {name!r}, allowed are {', '.join(allowed)} (components/modal_prices.yaml, of "
        f"{modal_prices().as_of}); `pulumi config set {key} {near[0] if near else allowed[0]}`"
    )


def _fallback_problems(fallbacks: list[str], recipe: Recipe) -> list[str]:
    gpu = recipe.gpu
    known = {other.type: other for other in gpu.fallbacks}
    found = []
    for kind in fallbacks:
        if kind not in known:
            needs = f"its flags are sized for {gpu.memory_gb:g} GB a GPU"
            if recipe.kernels:
                needs = f"its kernels run on {gpu.architecture} alone and {needs}"
            allowed = f"lists {', '.join(known)}" if known else "lists none"
            found.append(
                f"capacity.gpuFallbacks: found {kind!r}, {recipe.name} {allowed} in gpu.fallbacks ({needs}); "
                "`pulumi config rm --path capacity.gpuFallbacks`, or a stack of its own with a recipe for that GPU"
            )
            continue
        found += [
            f"capacity.gpuFallbacks: {kind}: {finding}; `pulumi config rm --path capacity.gpuFallbacks`"
            for finding in _broken_on(recipe, known[kind].architecture)
        ]
    if doubled := sorted({kind for kind in fallbacks if fallbacks.count(kind) > 1}):
        found.append(
            f"capacity.gpuFallbacks: {', '.join(doubled)} more than once; "
            "`pulumi config rm --path capacity.gpuFallbacks`"
        )
    return found


def _broken_on(recipe: Recipe, architecture: str) -> Iterable[str]:
    """Combinations of the recipe's flags that are known to be broken on this architecture."""
    try:
        release = catalogue.load(recipe.engine.name, recipe.engine.catalogue_release)
    except FileNotFoundError:
        return  # reported with the recipe's own flags
    model = recipe.model
    sparse = model.architecture is not None and model.architecture.index_n_heads > 0
    for finding in combinations.find_broken(
        release, recipe.engine.flags, architecture=architecture, repository=model.repo, sparse=sparse
    ):
        if finding.level == "error":
            yield str(finding)


def _snapshot_problems(values: Mapping[str, Any], recipe: Recipe) -> list[str]:
    if not _on(values.get("gpuSnapshot")):
        return []
    if recipe.gpu.count > 1:
        cause = f"Modal takes no GPU memory snapshot of more than one GPU, and {recipe.name} has {recipe.gpu.count}"
    else:
        cause = (
            f"{recipe.engine_module.TITLE} would have to put its memory aside before the snapshot and take it back "
            "after each restore, which this version does not do"
        )
    return [f"gpuSnapshot: {cause} (docs/capacity.md); `pulumi config rm gpuSnapshot`"]


def _on(value: Any) -> bool:
    return value is True or value == "true"


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
