"""How long a step takes and what it costs once: minutes and dollars, usually and at the most."""

from __future__ import annotations

from dataclasses import dataclass

from components.estimates import DOWNLOAD_GB_A_SECOND, READ_GB_A_SECOND, download_second, replica_seconds
from components.serving_app import DEPLOYED, IDENTITY
from infra.configuration import Configuration
from infra.costs import always_warm, cut_over
from infra.review.events import UNKNOWN, Step

_VERIFY_SECONDS = 60
"""Sizes and headers of some hundred files; on CPU."""


@dataclass(frozen=True)
class Effort:
    """Seconds and USD: usually, and at the most."""

    seconds: tuple[float, float] = (0, 0)
    dollars: tuple[float, float] = (0, 0)
    word: str = ""
    """What the step is, where `update` or `replace` says too little."""


def effort(step: Step, configuration: Configuration, old: Configuration | None = None) -> Effort:
    """`old` is what serves until then."""
    if step.kind in ("none", "delete"):
        return Effort()
    if step.name == "weights":
        return _weights(step, configuration)
    if step.name == "kernels":
        return _kernels(step, configuration)
    if step.name == "verification":
        return Effort((_VERIFY_SECONDS, _VERIFY_SECONDS), (0.01, 0.01))
    if step.name == "app":
        return _app(step, configuration, old)
    if step.name == "smoke-test":
        return _smoke_test(configuration)
    return Effort()


def new_version(step: Step) -> bool:
    """Whether a step of the serving app brings up new replicas: all but what its autoscaler takes live."""
    if step.name != "app" or step.kind in ("none", "delete"):
        return False
    if step.kind != "update" or step.outputs.get("liveVersion") != step.outputs.get("version"):
        return True
    return any(step.old.get(name) != step.new.get(name) for name in (*IDENTITY, *DEPLOYED))


def replaced_version(step: Step) -> bool:
    """A new version where one served before."""
    return new_version(step) and step.kind != "create"


def with_what_follows(steps: list[Step]) -> list[Step]:
    """A new version has a release that no preview can know, so the engine plans neither its smoke test nor its record.
    Both are made.
    """
    if any(new_version(step) for step in steps):
        for step in steps:
            if step.name in ("smoke-test", "release-record") and step.kind == "none":
                step.kind, step.new = "update", {**step.new, "release": UNKNOWN}
    return steps


def _weights(step: Step, configuration: Configuration) -> Effort:
    recipe = configuration.recipe
    fast, slow = (recipe.model.size_gb / rate for rate in DOWNLOAD_GB_A_SECOND)
    price = download_second(recipe, configuration.capacity)
    if step.kind == "replace" and step.outputs.get("commit") == recipe.model.revision:
        return Effort()  # a branch pinned to the commit that it stood at: every file is there
    if step.kind == "update" and step.outputs.get("problems"):
        return Effort((0, slow), (0, slow * price), "repair")
    if step.kind == "update" and step.old.get("rehash") != step.new.get("rehash"):
        usual, longest = (recipe.model.size_gb / rate for rate in READ_GB_A_SECOND)
        return Effort((usual, longest), (usual * price, longest * price), "hash again")
    if step.kind == "update":
        return Effort()
    return Effort((fast, slow), (fast * price, slow * price))


def _kernels(step: Step, configuration: Configuration) -> Effort:
    recipe = configuration.recipe
    usual, longest = 60 * recipe.compiling.estimated_minutes, recipe.compiling.timeout
    price = recipe.gpu.count * recipe.prices.gpu_second
    if step.kind == "update" and not step.outputs.get("problems"):
        starts = 2 * recipe.deadlines.startup
        return Effort((0, starts), (0, starts * price), "prove")
    return Effort((usual, longest), (usual * price, longest * price), "repair" if step.kind == "update" else "")


def _app(step: Step, configuration: Configuration, old: Configuration | None) -> Effort:
    if not new_version(step):
        return Effort(word="in place")
    if step.kind == "create":
        return Effort()
    over = cut_over(configuration, old)
    word = "new version" if step.kind == "update" else ""
    return Effort(dollars=over.dollars if configuration.deployment_strategy == "rolling" else (0, 0), word=word)


def _smoke_test(configuration: Configuration) -> Effort:
    """It waits for a replica that it starts; where some are warm anyway, it costs nothing of its own."""
    deadlines, idle = configuration.recipe.deadlines, configuration.scaling.scaledown_window
    usual, longest = deadlines.typical_startup or deadlines.startup, deadlines.startup
    price = max(replica_seconds(configuration.recipe, configuration.capacity))
    waits = (usual, deadlines.scheduling + longest)
    if always_warm(configuration):
        return Effort(waits)
    return Effort(waits, ((usual + idle) * price, (longest + idle) * price))
