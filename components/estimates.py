"""What things will cost and how long they take, in the words of a preview."""

from __future__ import annotations

from components.dynamic import money
from components.modal_prices import modal_prices
from serving.params import Capacity, Scaling
from serving.recipe import Recipe

DOWNLOAD_GB_A_SECOND = (0.4, 0.2)
"""The published guide's 30 to 60 minutes for 700 GB."""

READ_GB_A_SECOND = (3.0, 1.0)
"""Of a volume, as Modal says."""


def plan(recipe: Recipe, scaling: Scaling, ingress: str, capacity: Capacity) -> str:
    """What this stack is, in one line."""
    text = (
        f"{recipe.model.repo} on {recipe.gpu.count}×{recipe.gpu.type} with {recipe.engine.name} "
        f"{recipe.engine.version}, {ingress} ingress: {scaling.min_containers} to {scaling.max_containers} replicas "
        f"at {replica_price(recipe, capacity)}, down after {scaling.scaledown_window} s idle"
    )
    if capacity.nonpreemptible_download:
        text += f"; the download at {_download_price(recipe, capacity)}"
    return text


def replica_price(recipe: Recipe, capacity: Capacity) -> str:
    """`$36.31/h each`, with what its regions and fallbacks change about it."""
    own, *others = [money(3600 * price) for price in replica_seconds(recipe, capacity)]
    text = f"{own}/h each"
    if capacity.regions:
        table = modal_prices()
        text += (
            f" ({table.regions.multiplier(capacity.regions):g} × the base price for region "
            f"{' or '.join(capacity.regions)}, prices of {table.as_of})"
        )
    for kind, price in zip(capacity.gpu_fallbacks, others, strict=True):
        text += f", {price}/h on {recipe.gpu.count}×{kind} while none of those are free"
    return text


def download(recipe: Recipe, capacity: Capacity) -> str:
    fast, slow = (recipe.model.size_gb / rate / 60 for rate in DOWNLOAD_GB_A_SECOND)
    minutes = f"{fast:.0f} to {slow:.0f} min" if slow >= 1 else "less than a minute"
    dollars = money(slow * 60 * download_second(recipe, capacity))
    return f"{recipe.model.size_gb:g} GB, {minutes} on CPU, at most {dollars} ({_download_price(recipe, capacity)})"


def _download_price(recipe: Recipe, capacity: Capacity) -> str:
    price = f"{money(3600 * download_second(recipe, capacity))}/h"
    if not capacity.nonpreemptible_download:
        return price
    return f"{price}, {modal_prices().nonpreemptible.multiplier:g} × the base price for not being preempted"


def download_second(recipe: Recipe, capacity: Capacity) -> float:
    asked, prices = recipe.download, recipe.prices
    base = asked.cpu * prices.cpu_core_second + asked.memory_mib / 1024 * prices.memory_gib_second
    return base * (modal_prices().nonpreemptible.multiplier if capacity.nonpreemptible_download else 1)


def compilation(recipe: Recipe) -> str:
    """Of a recipe with kernels. The job has no region."""
    minutes = recipe.compiling.estimated_minutes
    dollars = money(60 * minutes * recipe.gpu.count * recipe.prices.gpu_second)
    return f"{recipe.gpu.count}×{recipe.gpu.type}, about {minutes:g} min, about {dollars}"


def one_replica(recipe: Recipe, scaling: Scaling, capacity: Capacity) -> str:
    """The smoke test's: started for it, idle afterwards."""
    startup, idle = recipe.deadlines.startup, scaling.scaledown_window
    dollars = money((startup + idle) * max(replica_seconds(recipe, capacity)))
    return (
        f"{recipe.gpu.count}×{recipe.gpu.type}, at most {startup} s to start and {idle} s idle afterwards, "
        f"at most {dollars}"
    )


def replica_seconds(recipe: Recipe, capacity: Capacity) -> list[float]:
    """USD for one second of one replica: on the recipe's GPUs, then on each fallback."""
    prices = {other.type: other.gpu_second for other in recipe.gpu.fallbacks}
    factor = recipe.gpu.count * modal_prices().regions.multiplier(capacity.regions)
    return [factor * price for price in (recipe.prices.gpu_second, *(prices[kind] for kind in capacity.gpu_fallbacks))]
