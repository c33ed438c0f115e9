"""Why a step happens: the settings that changed, in the words of whoever changed them, or what was found to differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.artifacts import summary
from components.scaling_schedule import name_of as name_of_schedule
from components.spend_check import name_of as name_of_spend_check
from infra.configuration import Change, Configuration
from infra.review.events import UNKNOWN, Step
from serving.recipe import COMPILER_PREFIXES

_NOT_A_REASON = ("__provider", "estimate", "params", "setWith", "__internal")
_WORDS = {
    "artifacts": "weights or kernels are made anew",
    "attachments.apiSecret": "api-secret is written anew",
    "attachments.hfSecret": "hf-secret is written anew",
    "attachments.kernelsVolume": "another kernels volume",
    "attachments.weightsVolume": "another weights volume",
    "commit": "follows weights",
    "kernelKey": "follows kernels",
    "key": "follows weights",
    "kernelsManifest": "follows kernels",
    "release": "follows app",
    "source": "code in serving/ changed",
    "stack": "the stack has another name",
    "url": "follows app",
    "values": "its value is another",
    "version": "follows app",
    "weightsManifest": "follows weights",
}
"""Of inputs that no setting stands for."""

Relevant = Callable[[str], bool]


def reasons(step: Step, changes: list[Change], configuration: Configuration, *, new_stack: bool) -> list[str]:
    """In order of weight; one at least where something happens."""
    if step.kind == "none":
        return []
    if step.kind == "create":
        return [_made(step.name, configuration)] if new_stack else _created(step, changes, configuration)
    if step.kind == "delete":
        return [str(change) for change in changes if _relevant(step.name, configuration)(change.key)] or [
            "no longer asked for"
        ]
    drift = _drift(step)
    named = [str(change) for change in changes if _relevant(step.name, configuration)(change.key)]
    return drift + named or _followed(step) or ["its inputs changed"]


def _made(name: str, configuration: Configuration) -> str:
    """What a stack that is new gets."""
    recipe = configuration.recipe
    gpus = f"{recipe.gpu.count}×{recipe.gpu.type}"
    return {
        "weights-volume": f"volume {recipe.volumes.weights.name}",
        "kernels-volume": f"volume {recipe.volumes.kernels.name}",
        "hf-secret": f"secret {recipe.secrets.hugging_face.name}: {configuration.hf_token}",
        "api-key": "32 random bytes, encrypted in the stack's state",
        "api-secret": f"secret {recipe.secrets.api_key.name}",
        "pipeline": f"app {recipe.app}-pipeline: downloads, compiles, verifies",
        "weights": f"{recipe.model.size_gb:g} GB of {recipe.model.repo}@{recipe.model.revision}, on CPU",
        "kernels": f"for {recipe.engine.name} {recipe.engine.version} with these flags, on {gpus}",
        "verification": "shards, index and kernels belong together, on CPU",
        "app": f"app {recipe.app}, ingress {configuration.ingress}",
        "smoke-test": f"starts a replica on {gpus} and asks it from outside",
        "release-record": f"a file in volume {recipe.volumes.weights.name}, once the smoke test has passed",
        "schedule": f"app {name_of_schedule(recipe.app)}: warm replicas by the clock, on CPU",
        "spend-check": f"app {name_of_spend_check(recipe.app)}: spend against the budget each hour, on CPU",
    }.get(name, "first deploy")


def _created(step: Step, changes: list[Change], configuration: Configuration) -> list[str]:
    named = [str(change) for change in changes if _relevant(step.name, configuration)(change.key)]
    return named or ["not there, or gone"]


def _drift(step: Step) -> list[str]:
    """What a refresh has found to differ from what was deployed."""
    outputs = step.outputs
    found = []
    if outputs.get("problems"):
        found.append(summary(outputs["problems"]))
    live, deployed = outputs.get("liveVersion"), outputs.get("version")
    if live is not None and deployed is not None and live != deployed:
        found.append(f"version {live:g} was deployed by hand, the stack's is {deployed:g}")
    if outputs.get("offSchedule"):
        found.append("warm replicas were set by hand, off the schedule")
    return found


def _followed(step: Step) -> list[str]:
    paths = _differing(step.old, step.new)
    words = [_WORDS.get(path) or _WORDS.get(path.split(".")[0]) for path in paths]
    known = list(dict.fromkeys(word for word in words if word))
    return known or [_by_hand(step, path) for path in paths]


def _by_hand(step: Step, path: str) -> str:
    """An input that differs though no setting did: its value in the state is what a refresh saw."""
    old, new = _at(step.old, path), _at(step.new, path)
    return f"{path.split('.')[-1]} {old} → {new}" if UNKNOWN not in (old, new) else path


def _differing(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        names = [name for name in {**old, **new} if name not in _NOT_A_REASON]
        return [
            found
            for name in names
            for found in _differing(old.get(name), new.get(name), f"{path}.{name}" if path else name)
        ]
    return [path] if old != new else []


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _relevant(name: str, configuration: Configuration) -> Relevant:
    """Which changed keys are a reason for a step of this resource."""
    if name == "app":
        return _app(configuration)
    if name == "kernels":
        return _kernels(configuration)
    if name == "pipeline":
        return _starts("capacity.nonpreemptibleDownload", "environment", *_recipe_keys(configuration))
    return _starts(*_KEYS.get(name, ()))


_KEYS: dict[str, tuple[str, ...]] = {
    "weights-volume": ("volumes.weights", "environment", "retainWeights"),
    "kernels-volume": ("volumes.kernels", "environment"),
    "hf-secret": ("hfToken", "secrets.huggingFace", "environment"),
    "api-key": ("apiKey", "apiKeyRotation"),
    "api-secret": ("apiKey", "secrets.apiKey", "environment"),
    "weights": (
        *("model.repo", "model.revision", "download.layout", "volumes.weights", "environment"),
        *("retainWeights", "weightsRehash"),
    ),
    "smoke-test": ("smokeTest", "quality"),
    "schedule": ("schedule", "keepWarm", "scaling."),
    "spend-check": ("budget", "schedule", "scaling."),
}


def _starts(*prefixes: str) -> Relevant:
    return lambda key: key.startswith(prefixes)


def _recipe_keys(configuration: Configuration) -> list[str]:
    """The sections of a recipe: the pipeline app is given all of it."""
    sections = [name for name in configuration.recipe.to_json() if name not in ("name", "secrets")]
    return [f"{name}" if name in ("app", "smokeTest") else f"{name}." for name in sections] + ["engineArgs."]


def _kernels(configuration: Configuration) -> Relevant:
    """What `serving.recipe.kernel_key` hashes."""
    shapeless = configuration.recipe.engine_module.SHAPELESS_FLAGS

    def relevant(key: str) -> bool:
        if key.startswith(("engineArgs.", "engine.flags.")):
            return key.removeprefix("engine.flags.").removeprefix("engineArgs.") not in shapeless
        if key.startswith("engine.environment."):
            return key.removeprefix("engine.environment.").startswith(COMPILER_PREFIXES)
        facts = ("model.revision", "gpu.type", "gpu.count", "gpu.architecture", "engine.", "volumes.kernels")
        return key.startswith((*facts, "environment"))

    return relevant


_APP = ("scaling.", "schedule", "ingress", "proxyAuth", "capacity.gpuFallbacks", "region",
        "routingRegion", "environment", "model.revision")  # fmt: skip


def _app(configuration: Configuration) -> Relevant:
    """What a replica is given: the stack's own keys, and of the recipe what `as_served` leaves in it."""
    whole = configuration.recipe.to_json()
    served = configuration.recipe.as_served().to_json()

    def relevant(key: str) -> bool:
        if key.startswith(_APP) or key.startswith(("engineArgs.", "engine.flags.", "engine.environment.")):
            return True
        if key.split(".")[0] not in whole or key in ("name", "recipe"):
            return False
        return _at(whole, key) == _at(served, key)

    return relevant
