"""A stack as the benchmark meets it: where it answers, with which key, and what its replicas cost."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from benchmarks.endpoint.cost import Pricing
from benchmarks.endpoint.exchange import Target
from infra.stack_outputs import OutputsError, stack_outputs


def of_stack(stack: str) -> tuple[Target, Pricing]:
    """Needs `pulumi` on PATH and its backend. Raises OutputsError or SettingsError."""
    outputs = stack_outputs(stack, secrets=True)
    missing = [name for name in ("url", "model", "apiKey") if not outputs.get(name)]
    if missing:
        raise OutputsError(f"stack {stack} has no {' and no '.join(missing)} yet; make up STACK={stack}")
    target = Target(str(outputs["url"]).rstrip("/"), str(outputs["model"]), str(outputs["apiKey"]))
    return target, pricing_of(stack, target)


def pricing_of(stack: str, target: Target) -> Pricing:
    """From the stack's settings and its recipe's prices."""
    from components.estimates import replica_seconds
    from infra.settings import load_settings

    settings = load_settings(_config(stack), {}, stack=stack)
    scaling, deadlines = settings.scaling, settings.recipe.deadlines
    local = is_local(target.url)
    return Pricing(
        3600 * replica_seconds(settings.recipe, settings.capacity)[0],
        scaling.target_concurrency,
        scaling.max_containers,
        start_seconds=float(deadlines.typical_startup or deadlines.startup),
        idle_seconds=float(scaling.scaledown_window),
        note=" (on Modal; this one runs on your machine and costs nothing)" if local else "",
    )


def is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _config(stack: str) -> dict[str, str]:
    """What the stack's file sets, as its program gets it, without its secrets."""
    path = Path(__file__).resolve().parents[2] / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise OutputsError(f"the settings of stack {stack} cannot be read: {path}: {error.strerror}") from None
    return {
        key: json.dumps(value) if isinstance(value, (dict, list)) else str(value)
        for key, value in (document.get("config") or {}).items()
        if not (isinstance(value, dict) and "secure" in value)
    }
