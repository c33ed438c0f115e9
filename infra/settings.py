"""Stack config to typed settings: every problem found at once, each with the command that mends it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from infra import capacity, schedule
from infra.budget import Budget
from infra.capacity import CapacityConfig
from infra.recipe_file import RECIPES, find_recipe, lower
from infra.schedule import Change, KeepWarm, Schedule
from serving.params import Capacity, Scaling
from serving.recipe import Recipe
from serving.recipe_sections import Data, FlagValue

SECRETS = ("hfToken", "apiKey")
API_KEY_VARIABLE = "GLM_SERVING_API_KEY"
__all__ = ["RECIPES", "Settings", "SettingsError", "StackConfig", "load_settings"]


class SettingsError(Exception):
    """All problems of a stack's config, ready to print."""

    def __init__(self, stack: str, problems: list[str]) -> None:
        # A key or a value may hold a line break or an escape sequence.
        escaped = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in problem) for problem in problems]
        # A value may be as long as a file. The key is at the beginning, what mends it at the end.
        self.problems = [text if len(text) <= 1200 else f"{text[:600]} […] {text[-400:]}" for text in escaped]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"Pulumi.{stack}.yaml has {count}:\n" + "\n".join(f"  - {text}" for text in self.problems))


class ScalingConfig(Data):
    """`scaling` of a stack file. Ranges are Modal's."""

    min_containers: int = Field(0, ge=0, le=100)
    max_containers: int = Field(1, ge=1, le=100)
    buffer_containers: int = Field(0, ge=0, le=100)
    scaledown_window: int = Field(900, ge=2, le=3600)
    target_concurrency: int = Field(20, ge=1, le=1000)
    max_concurrency: int | None = Field(None, ge=1, le=1000)

    @field_validator("max_containers")
    @classmethod
    def _max_holds_min(cls, value: int, info: ValidationInfo) -> int:
        minimum = info.data.get("min_containers", 0)
        if value < minimum:
            raise ValueError(f"must be at least scaling.minContainers, which is {minimum}")
        return value

    @field_validator("max_concurrency")
    @classmethod
    def _max_concurrency_holds_target(cls, value: int | None, info: ValidationInfo) -> int | None:
        target = info.data.get("target_concurrency", 1)
        if value is not None and value < target:
            raise ValueError(f"must be at least scaling.targetConcurrency, which is {target}")
        return value


class StackConfig(Data):
    """The keys of a stack file, namespace `glm-serving`."""

    recipe: str
    environment: str = Field("main", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$", max_length=64)
    scaling: ScalingConfig = ScalingConfig()
    schedule: Schedule | None = None
    keep_warm: KeepWarm | None = None
    budget: Budget | None = None
    ingress: Literal["web", "server"] = "web"
    allow_cold_start503: bool = False
    proxy_auth: bool = False
    region: list[str] = Field(default_factory=list)
    routing_region: str | None = None
    capacity: CapacityConfig = CapacityConfig()
    gpu_snapshot: bool = False
    hf_token: str | None = Field(None, min_length=1)
    # SGLang's argument parser takes a value that starts with a dash for an option.
    api_key: str | None = Field(None, min_length=16, pattern=r"^[^-\s]\S*$")
    api_key_rotation: int = Field(0, ge=0)
    api_key_grace: int = Field(86400, ge=0, le=30 * 86400)
    deployment_strategy: Literal["rolling", "recreate"] = "rolling"
    smoke_test: Literal["onDeploy", "never"] = "onDeploy"
    retain_weights: bool = True
    protect_weights: bool = False
    weights_rehash: int = Field(0, ge=0)
    engine_args: dict[str, FlagValue | None] = Field(default_factory=dict)

    @field_validator("region", mode="before")
    @classmethod
    def _one_region_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Settings:
    """What the program builds the stack from."""

    recipe: Recipe
    environment: str
    scaling: Scaling
    schedule: Schedule | None
    keep_warm: KeepWarm | None
    budget: Budget | None
    ingress: Literal["web", "server"]
    proxy_auth: bool
    capacity: Capacity
    hf_token: str | None
    hf_token_is_ambient: bool
    """Not the stack's own `hfToken`, but the HF_TOKEN of whoever runs Pulumi."""
    api_key: str | None
    api_key_rotation: int
    api_key_grace: int
    """Seconds for which the key before a rotation is accepted."""
    deployment_strategy: Literal["rolling", "recreate"]
    smoke_test: Literal["onDeploy", "never"]
    retain_weights: bool
    protect_weights: bool
    weights_rehash: int
    """Another number: the next `up` hashes every file of the weights again."""
    engine_args: Mapping[str, FlagValue | None]
    """Flags that the stack file sets; `recipe` has them merged in."""
    warnings: list[str]
    """What a preview should say and go on: flags that are renamed or known to cost speed."""


def load_settings(
    config: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    stack: str,
    project: str = "glm-serving",
    secret_keys: Collection[str] = (),
) -> Settings:
    """Reads the program's config (`project:key` to its text, objects as JSON). Raises SettingsError.

    `secret_keys` are the keys that Pulumi keeps encrypted. A Hugging Face token missing from the config is taken
    from HF_TOKEN, an API key from GLM_SERVING_API_KEY.
    """
    prefix = f"{project}:"
    values = {key.removeprefix(prefix): _parse(text) for key, text in config.items() if key.startswith(prefix)}
    if isinstance(arguments := values.get("engineArgs"), dict):
        # `pulumi config set --path engineArgs.x null` stores the word.
        values["engineArgs"] = {flag: None if value == "null" else value for flag, value in arguments.items()}
    problems = [
        f"{key}: is stored in clear text; `pulumi config set --secret {key} …`"
        for key in SECRETS
        if key in values and prefix + key not in secret_keys
    ]
    if key := environ.get(API_KEY_VARIABLE):
        values.setdefault("apiKey", key)
    parsed: StackConfig | None = None
    try:
        parsed = StackConfig.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += [_explain(detail) for detail in error.errors(include_url=False)]
    problems += _ingress_problems(values) + _proxy_problems(values) + schedule.problems(values)
    warnings: list[str] = []
    recipe = find_recipe(values, problems, warnings)
    problems += capacity.problems(values, recipe)
    if problems or parsed is None or recipe is None:
        raise SettingsError(stack, problems)
    return Settings(
        recipe=recipe,
        environment=parsed.environment,
        scaling=Scaling.model_validate(parsed.scaling.to_json()),
        schedule=parsed.schedule,
        keep_warm=parsed.keep_warm,
        budget=parsed.budget,
        ingress=parsed.ingress,
        proxy_auth=parsed.proxy_auth,
        capacity=Capacity(
            gpu_fallbacks=parsed.capacity.gpu_fallbacks,
            regions=parsed.region,
            routing_region=parsed.routing_region,
            nonpreemptible_download=parsed.capacity.nonpreemptible_download,
        ),
        hf_token=parsed.hf_token or environ.get("HF_TOKEN") or None,
        hf_token_is_ambient=parsed.hf_token is None,
        api_key=parsed.api_key,
        api_key_rotation=parsed.api_key_rotation,
        api_key_grace=parsed.api_key_grace,
        deployment_strategy=parsed.deployment_strategy,
        smoke_test=parsed.smoke_test,
        retain_weights=parsed.retain_weights,
        protect_weights=parsed.protect_weights,
        weights_rehash=parsed.weights_rehash,
        engine_args=parsed.engine_args,
        warnings=[*warnings, *schedule.warnings(parsed.schedule, parsed.keep_warm, datetime.now(UTC))],
    )


def _parse(text: str) -> Any:
    """Pulumi hands objects over as JSON and everything else as plain text."""
    if text.startswith(("{", "[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _ingress_problems(values: dict[str, Any]) -> list[str]:
    """Read from the raw values, so that it is reported together with whatever else is wrong with them."""
    scaling = values.get("scaling", {})
    minimum = scaling.get("minContainers", 0) if isinstance(scaling, dict) else 0
    if values.get("ingress") != "server" or minimum != 0 or values.get("allowColdStart503") in (True, "true"):
        return []
    return [
        "ingress: found 'server', which answers 503 while no replica is up, with scaling.minContainers 0; "
        "`pulumi config set ingress web`, `pulumi config set --path scaling.minContainers 1` or "
        "`pulumi config set allowColdStart503 true`"
    ]


def _proxy_problems(values: dict[str, Any]) -> list[str]:
    if values.get("proxyAuth") not in (True, "true") or values.get("smokeTest", "onDeploy") == "never":
        return []
    return [
        "proxyAuth: the smoke test has no proxy token and could never pass; "
        "`pulumi config set smokeTest never` or `pulumi config rm proxyAuth`"
    ]


def _explain(detail: Any) -> str:
    """One problem: its key, what was found, what is allowed, and the command that mends it."""
    loc = [str(part) for part in detail["loc"]]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).removeprefix(".")
    path = f"'{key}'" if "[" in key else key  # a shell would take the brackets for a pattern
    kind, context = detail["type"], detail.get("ctx", {})
    found = f"found {detail['input']!r}"
    if loc and loc[0] in SECRETS:
        found = "its value is not shown"
    if kind == "extra_forbidden":
        allowed = sorted(_allowed_names(loc[:-1]))
        return (
            f"{key}: no such key; the keys here are {', '.join(allowed)}; `pulumi config rm {_path_option(loc)}{path}`"
        )
    if kind == "missing":
        return f"{key}: is required; `pulumi config set {_path_option(loc)}{path} …`"
    mend = f"`pulumi config set {'--secret ' if loc and loc[0] in SECRETS else ''}{_path_option(loc)}{path} …`"
    message = str(context["error"]) if "error" in context else lower(detail["msg"])
    return f"{key}: {found}, {message}; {mend}"


def _path_option(loc: list[str]) -> str:
    return "--path " if len(loc) > 1 else ""


def _allowed_names(parents: list[str]) -> list[str]:
    nested: dict[str, type[Data]] = {
        "scaling": ScalingConfig,
        "capacity": CapacityConfig,
        "schedule": Schedule,
        "schedule.changes": Change,
        "keepWarm": KeepWarm,
        "budget": Budget,
    }
    model = nested.get(".".join(part for part in parents if not part.isdigit()), StackConfig)
    return [field.alias or name for name, field in model.model_fields.items()]
