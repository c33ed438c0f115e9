"""The ten rows of the published guide's deployment review, each as a rule.

Five are about how the containers' code is written: those read the code that this preview would ship
(shipped_code.py), so that an edit that brings a row's trouble back is stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

from components.modal_prices import modal_prices
from infra.policies import shipped_code
from infra.policies.facts import Rule, StackFacts
from infra.review.durations import sum_of_money

_LARGE_GB = 500
_LOAD_GB_A_SECOND = 1.0
"""The slowest that volumes were seen to read."""


def _traffic_after_warm_up(facts: StackFacts) -> Iterator[str]:
    yield from shipped_code.traffic_before_warm_up()
    deadlines = facts.configuration.recipe.deadlines
    if deadlines.health >= deadlines.startup:
        yield f"deadlines.health {deadlines.health} s is not below deadlines.startup {deadlines.startup} s"
    if facts.configuration.smoke_test == "never" and not facts.configuration.proxy_auth:
        yield "no smoke test asks a new version before it serves; `pulumi config set smokeTest onDeploy`"


def _output_captured(facts: StackFacts) -> Iterator[str]:
    yield from shipped_code.uncaptured_processes()


def _supported_regions(facts: StackFacts) -> Iterator[str]:
    table, capacity = modal_prices(), facts.configuration.capacity
    for region in capacity.regions:
        if region not in table.regions.names:
            yield f"region {region!r} is none of Modal's; `pulumi config rm region`"
    if capacity.routing_region not in (None, *table.routing_regions.names):
        yield f"routingRegion {capacity.routing_region!r} is none of Modal's; `pulumi config rm routingRegion`"


def _time_to_load(facts: StackFacts) -> Iterator[str]:
    recipe = facts.configuration.recipe
    if recipe.model.size_gb < _LARGE_GB:
        return
    needed = recipe.model.size_gb / _LOAD_GB_A_SECOND
    if recipe.deadlines.health < needed:
        yield (
            f"deadlines.health of {recipe.name} is {recipe.deadlines.health} s, reading {recipe.model.size_gb:g} GB at "
            f"{_LOAD_GB_A_SECOND:g} GB/s takes {needed:.0f} s; raise it and deadlines.startup in the recipe"
        )
    watchdog = recipe.engine.flags.get("watchdog-timeout", 300)
    if recipe.engine.name == "sglang" and isinstance(watchdog, int | float) and watchdog < 1200:
        yield (f"watchdog-timeout is {watchdog:g} s; `pulumi config set --path engineArgs.watchdog-timeout 1200`")


def _crashes_noticed(facts: StackFacts) -> Iterator[str]:
    yield from shipped_code.unwatched_engine()
    recipe = facts.configuration.recipe
    if recipe.deadlines.monitor_interval > 60:
        yield f"deadlines.monitorInterval is {recipe.deadlines.monitor_interval:g} s; at most 60"
    if not recipe.engine_module.has_metrics(recipe):
        flag, value = recipe.engine_module.METRICS_FLAG
        yield (
            "without metrics a replica that hangs is not noticed; `pulumi config set --path engineArgs."
            f"{flag} {str(value).lower()}`"
        )


def _whole_downloads(facts: StackFacts) -> Iterator[str]:
    for weights in facts.of_kind("ModelWeights"):
        if not weights.inputs.get("sentinel"):
            yield f"{weights.name} has no file by which a whole download is known"
    if not facts.of_kind("Verification"):
        yield "nothing verifies shards and index before a replica starts"


def _volumes_reloaded(facts: StackFacts) -> Iterator[str]:
    yield from shipped_code.volumes_not_reloaded()


def _compile_cost(facts: StackFacts) -> Iterator[str]:
    recipe = facts.configuration.recipe
    if recipe.kernels is None:
        return
    cost = 60 * recipe.kernels.estimated_minutes * recipe.gpu.count * recipe.prices.gpu_second
    if cost > facts.limits["maxCompileUsd"]:
        yield (
            f"compiling on {recipe.gpu.count}×{recipe.gpu.type} for about {recipe.kernels.estimated_minutes:g} min is "
            f"{sum_of_money(cost)}, allowed are {sum_of_money(facts.limits['maxCompileUsd'])}; maxCompileUsd in "
            "infra/policies/limits.json (kernels fit the GPU they were made on alone: no cheaper one will do)"
        )


def _ingress_fits(facts: StackFacts) -> Iterator[str]:
    configuration = facts.configuration
    warm = configuration.scaling.min_containers > 0 and configuration.schedule is None
    if configuration.ingress == "web" and warm:
        yield "replicas are always warm: `pulumi config set ingress server` has lower latency and sticky sessions"
    if configuration.ingress == "server" and not warm:
        yield (
            "ingress server answers 503 whenever no replica is warm; `pulumi config set ingress web` has requests wait"
        )


def _radix_cache(facts: StackFacts) -> Iterator[str]:
    recipe = facts.configuration.recipe
    flags = recipe.engine.flags
    if recipe.engine.name != "sglang":
        return
    off, agents = bool(flags.get("disable-radix-cache")), "tool-call-parser" in flags
    if off and agents:
        yield (
            "disable-radix-cache has each turn of an agent's conversation read its whole prompt again; "
            "`pulumi config rm --path engineArgs.disable-radix-cache`"
        )
    if not off and not agents:
        yield (
            "for single-shot requests the prefix cache only takes memory: `pulumi config set --path "
            "engineArgs.disable-radix-cache true`, unless conversations have several turns"
        )


REVIEW = [
    Rule("review-01-traffic-after-warm-up", 1, "mandatory", "no request reaches a replica before it is warm",
         "`smokeTest: onDeploy`, the recipe's `deadlines`, serving/apps/server.py", _traffic_after_warm_up),
    Rule("review-02-output-captured", 2, "mandatory", "what the engine prints is read and logged",
         "serving/engine_process.py", _output_captured),
    Rule("review-03-supported-regions", 3, "mandatory", "regions are Modal's own names",
         "`region`, `routingRegion`", _supported_regions),
    Rule("review-04-time-to-load", 4, "mandatory", "deadlines and watchdog leave time to load the weights",
         "the recipe's `deadlines`, `engineArgs.watchdog-timeout`", _time_to_load),
    Rule("review-05-crashes-noticed", 5, "mandatory", "a dead or hanging engine ends its container",
         "`engineArgs.enable-metrics`, the recipe's `deadlines.monitorInterval`", _crashes_noticed),
    Rule("review-06-whole-downloads", 6, "mandatory", "a download counts when its files were checked, not counted",
         "`ModelWeights` with a sentinel, a `Verification`", _whole_downloads),
    Rule("review-07-volumes-reloaded", 7, "mandatory", "a start reloads both volumes",
         "serving/apps/server.py", _volumes_reloaded),
    Rule("review-08-compile-cost", 8, "advisory", "compiling costs no more than maxCompileUsd",
         "`maxCompileUsd` in limits.json", _compile_cost, {"maxCompileUsd": 30}),
    Rule("review-09-ingress-fits", 9, "advisory", "the ingress is the one for this scaling",
         "`ingress`", _ingress_fits),
    Rule("review-10-radix-cache", 10, "advisory", "the prefix cache is on for conversations, off for single requests",
         "`engineArgs.disable-radix-cache`", _radix_cache),
]  # fmt: skip
