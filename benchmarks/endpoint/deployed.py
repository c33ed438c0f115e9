"""A stack as the benchmark meets it: where it answers, with which key, and what its replicas cost."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.endpoint.cost import Pricing
from benchmarks.endpoint.exchange import Target
from infra.stack_outputs import OutputsError, stack_outputs


def of_stack(stack: str) -> tuple[Target, Pricing]:
    """Needs `pulumi` on PATH and its backend. Raises OutputsError, StackFileError or SettingsError."""
    outputs = stack_outputs(stack, secrets=True)
    missing = [name for name in ("url", "model", "apiKey") if not outputs.get(name)]
    if missing:
        raise OutputsError(f"stack {stack} has no {' and no '.join(missing)} yet; make up STACK={stack}")
    target = Target(str(outputs["url"]).rstrip("/"), str(outputs["model"]), str(outputs["apiKey"]))
    return target, pricing_of(stack, target)


def pricing_of(stack: str, target: Target) -> Pricing:
    """From the stack's file and its recipe's prices. Raises StackFileError or SettingsError."""
    from components.estimates import replica_seconds
    from infra.stack_file import configuration_of

    configuration = configuration_of(stack, Path(__file__).resolve().parents[2])
    scaling, deadlines = configuration.scaling, configuration.recipe.deadlines
    local = is_local(target.url)
    return Pricing(
        3600 * replica_seconds(configuration.recipe, configuration.capacity)[0],
        scaling.target_concurrency,
        scaling.max_containers,
        start_seconds=float(deadlines.typical_startup or deadlines.startup),
        idle_seconds=float(scaling.scaledown_window),
        note=" (on Modal; this one runs on your machine and costs nothing)" if local else "",
    )


def is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
