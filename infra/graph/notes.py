"""What a node of the picture says of itself: what it is, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from infra.configuration import Configuration
from infra.costs import month, replica_hour
from infra.graph.resources import Node
from infra.review.durations import dollars, minutes, sum_of_money
from infra.review.efforts import effort
from infra.review.events import UNKNOWN, Step

Note = Callable[[Node, Configuration], list[str]]


def notes(node: Node, configuration: Configuration) -> list[str]:
    """Two lines at the most, short enough for a box."""
    told = [text for text in _OF.get(node.kind, _nothing)(node, configuration) if text]
    return (told + _once(node, configuration))[:2]


def headline(configuration: Configuration) -> str:
    gpu, scaling = configuration.recipe.gpu, configuration.scaling
    expected = month(configuration, datetime.now(UTC).date()).expected
    return (
        f"{configuration.recipe.model.repo} on {gpu.count}×{gpu.type}: {scaling.min_containers} to "
        f"{scaling.max_containers} replicas at {sum_of_money(replica_hour(configuration))}/h each, "
        f"{sum_of_money(expected)} a month expected"
    )


def _once(node: Node, configuration: Configuration) -> list[str]:
    """What bringing it about takes, where it is planned."""
    if node.state not in ("create", "update", "replace"):
        return []
    needed = effort(Step(node.name, node.state, {}, dict(node.inputs), dict(node.outputs)), configuration)
    if needed.seconds[1] < 60 and needed.dollars[1] < 0.005:
        return []
    return [f"{minutes(needed.seconds)}, {dollars(needed.dollars)} once"]


def _nothing(_node: Node, _configuration: Configuration) -> list[str]:
    return []


def _named(node: Node, _configuration: Configuration) -> list[str]:
    return [_short(node.inputs.get("name"))]


def _version(node: Node) -> str:
    version = node.outputs.get("version")
    return f", version {version:g}" if isinstance(version, (int, float)) else ""


def _weights(node: Node, configuration: Configuration) -> list[str]:
    commit = node.outputs.get("commit")
    at = f" at {commit[:9]}" if isinstance(commit, str) and commit != UNKNOWN else ""
    return [f"{configuration.recipe.model.size_gb:g} GB{at}"]


def _kernels(node: Node, configuration: Configuration) -> list[str]:
    engine = configuration.recipe.engine
    return [f"{engine.name} {engine.version}, {configuration.recipe.gpu.architecture}"]


def _app(node: Node, configuration: Configuration) -> list[str]:
    scaling = configuration.scaling
    price = sum_of_money(replica_hour(configuration))
    name = _short(node.inputs.get("name") or configuration.recipe.app)
    return [f"{name}{_version(node)}", f"{scaling.min_containers}–{scaling.max_containers} × {price}/h"]


def _smoke_test(node: Node, _configuration: Configuration) -> list[str]:
    seconds = node.outputs.get("seconds")
    return [f"passed after {seconds:g} s"] if isinstance(seconds, (int, float)) else []


def _schedule(_node: Node, configuration: Configuration) -> list[str]:
    if configuration.schedule is None:
        return [f"pings {configuration.keep_warm.cron}" if configuration.keep_warm else ""]
    counts = sorted({change.min_containers for change in configuration.schedule.changes})
    return [f"{counts[0]} or {counts[-1]} warm, {configuration.schedule.timezone}"]


def _spend(_node: Node, configuration: Configuration) -> list[str]:
    budget = configuration.budget
    return [f"warns at {sum_of_money(budget.max_monthly_usd)} a month"] if budget else []


def _short(value: object) -> str:
    text = value if isinstance(value, str) and value != UNKNOWN else ""
    return text if len(text) <= 32 else f"{text[:31]}…"


_OF: dict[str, Note] = {
    "Volume": _named,
    "Secret": _named,
    "PipelineApp": lambda node, _: [f"{_short(node.inputs.get('name'))}{_version(node)}"],
    "ModelWeights": _weights,
    "CompiledKernels": _kernels,
    "ServingApp": _app,
    "SmokeTest": _smoke_test,
    "ScalingSchedule": _schedule,
    "SpendCheck": _spend,
}
