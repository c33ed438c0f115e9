"""A stack's settings as plain data, without its secrets: what a preview compares with what was last deployed.

`LlmStack` keeps the document among its outputs, so the next preview finds the one before in the state, under the names
that people write in a stack file or a recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from infra.budget import Budget
from infra.schedule import KeepWarm, Schedule
from infra.settings import Settings
from serving.params import Capacity, Scaling
from serving.recipe import Recipe
from serving.recipe_sections import Data

ABSENT = "not set"
_FIRST = ("recipe", "gpu.type", "model.revision", "engine.version", "scaling.", "schedule", "engineArgs.")
"""Changes that explain others come first."""


class Configuration(Data):
    """The document, typed. What an older version of this project wrote may not validate."""

    recipe: Recipe
    environment: str
    scaling: Scaling
    schedule: Schedule | None = None
    keep_warm: KeepWarm | None = None
    budget: Budget | None = None
    ingress: Literal["web", "server"] = "web"
    proxy_auth: bool = False
    capacity: Capacity = Capacity()
    hf_token: str = ABSENT
    api_key: str = ABSENT
    api_key_rotation: int = 0
    api_key_grace: int = 0
    deployment_strategy: Literal["rolling", "recreate"] = "rolling"
    smoke_test: Literal["onDeploy", "never"] = "onDeploy"
    retain_weights: bool = True
    protect_weights: bool = False
    weights_rehash: int = 0
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Flags that the stack file sets; the recipe has them merged in."""


def describe(settings: Settings) -> dict[str, Any]:
    """The document of these settings. Of secrets it says where they come from."""
    token = "set in the stack" if not settings.hf_token_is_ambient else "HF_TOKEN, or what Modal has"
    return Configuration(
        recipe=settings.recipe,
        environment=settings.environment,
        scaling=settings.scaling,
        schedule=settings.schedule,
        keep_warm=settings.keep_warm,
        budget=settings.budget,
        ingress=settings.ingress,
        proxy_auth=settings.proxy_auth,
        capacity=settings.capacity,
        hf_token=token,
        api_key="set in the stack" if settings.api_key else "generated",
        api_key_rotation=settings.api_key_rotation,
        api_key_grace=settings.api_key_grace,
        deployment_strategy=settings.deployment_strategy,
        smoke_test=settings.smoke_test,
        retain_weights=settings.retain_weights,
        protect_weights=settings.protect_weights,
        weights_rehash=settings.weights_rehash,
        engine_args=settings.engine_args,
    ).to_json()


@dataclass(frozen=True)
class Change:
    """One key that has another value than at the last deploy."""

    key: str
    """As people write it: `scaling.maxContainers`, `engineArgs.tp`; a recipe's own keys without a prefix."""
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key} {_short(self.old)} → {_short(self.new)}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs between two documents, the most telling first. Lists are compared whole."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    arguments = {*old.get("engineArgs", {}), *new.get("engineArgs", {})}
    found = [
        Change(_written(path, arguments), before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path) and path[0] != "engineArgs"
    ]

    def rank(change: Change) -> int:
        return next((place for place, key in enumerate(_FIRST) if change.key.startswith(key)), len(_FIRST))

    return sorted(found, key=rank)


Path = tuple[str, ...]
_OF_CAPACITY: dict[Path, str] = {("capacity", "regions"): "region", ("capacity", "routingRegion"): "routingRegion"}
"""A stack file has these beside `capacity`."""


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        # Pulumi's state has one kind of number.
        yield path, int(value) if isinstance(value, float) and value.is_integer() else value


def _written(path: Path, arguments: set[str]) -> str:
    if path[0] != "recipe":
        return _OF_CAPACITY.get(path) or ".".join(path)
    if path[1:] == ("name",):
        return "recipe"
    if path[1:3] == ("engine", "flags"):
        return f"engineArgs.{path[3]}" if path[3] in arguments else f"engine.flags.{'.'.join(path[3:])}"
    return ".".join(path[1:])


def _short(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and len(value) == 40 and all(c in "0123456789abcdef" for c in value):
        return value[:12]
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value) or "none"
    if isinstance(value, Mapping):  # of a list, such as a schedule's change
        return " ".join(str(int(item) if isinstance(item, float) else item) for item in value.values())
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
