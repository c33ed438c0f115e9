"""The policies: what this project asks of a stack, and after it the guide's deployment review."""

from __future__ import annotations

from collections.abc import Iterator

from infra.costs import always_warm, month
from infra.policies.deployment_review import REVIEW
from infra.policies.facts import Rule, StackFacts
from infra.review.durations import sum_of_money

_PRODUCTION = {"productionStacks": ["prod"]}


def _budget(facts: StackFacts) -> Iterator[str]:
    configuration = facts.configuration
    if configuration.budget is None:
        if facts.is_production:
            yield f"budget: stack {facts.stack} has none; `pulumi config set --path budget.maxMonthlyUsd …`"
        return
    limit, expected = configuration.budget.max_monthly_usd, month(configuration, facts.today).expected
    if expected > limit:
        yield (
            f"budget.maxMonthlyUsd is {sum_of_money(limit)}, {sum_of_money(expected)} a month are to be expected; "
            "fewer warm hours (`pulumi config set --path scaling.minContainers 0`, or a schedule), or another budget"
        )


def _maximum_gpus(facts: StackFacts) -> Iterator[str]:
    configuration = facts.configuration
    gpus, limit = configuration.scaling.max_containers * configuration.recipe.gpu.count, facts.limits["maxGpus"]
    if gpus > limit:
        most = int(limit // configuration.recipe.gpu.count)
        yield (
            f"scaling.maxContainers {configuration.scaling.max_containers} is {gpus} GPUs, allowed are {limit:g}; "
            f"`pulumi config set --path scaling.maxContainers {most}`, or maxGpus in infra/policies/limits.json"
        )


def _warm_replicas_end(facts: StackFacts) -> Iterator[str]:
    configuration = facts.configuration
    if always_warm(configuration):
        yield (
            f"scaling.minContainers {configuration.scaling.min_containers} has no schedule and no end; `pulumi config "
            "set --path 'schedule.changes[0].cron' '0 8 * * MON-FRI'` and so on, or `pulumi config set --path "
            "schedule.until …`, the day on which somebody decides again (docs/scaling.md)"
        )
        return
    schedule = configuration.schedule
    if schedule is None or schedule.until is not None:
        return
    if all(change.min_containers for change in schedule.changes):
        yield (
            "schedule: never comes down to 0 warm replicas and has no end; a change with minContainers 0, or "
            "`pulumi config set --path schedule.until …`"
        )


def _authenticated(facts: StackFacts) -> Iterator[str]:
    key = facts.configuration.recipe.secrets.api_key
    held = [secret for secret in facts.of_kind("Secret") if secret.inputs.get("name") == key.name]
    if not held or key.key not in held[0].inputs.get("keys", []):
        yield f"the stack has no secret {key.name} with {key.key}: the endpoint would answer anybody who finds its URL"
    for app in facts.of_kind("ServingApp"):
        # Listed, not looked up: the value is one that a preview may not know.
        if "apiSecret" not in list(app.inputs["attachments"]):
            yield f"{app.name} is not given the secret {key.name}"


def _pinned_revision(facts: StackFacts) -> Iterator[str]:
    model = facts.configuration.recipe.model
    if facts.is_production and not model.pinned:
        yield (
            f"model.revision of {facts.configuration.recipe.name} is {model.revision!r}, which can move; its commit "
            f"(40 hex digits, `git ls-remote https://huggingface.co/{model.repo} {model.revision}`) in the recipe"
        )


def _pinned_image(facts: StackFacts) -> Iterator[str]:
    engine = facts.configuration.recipe.engine
    _, _, tag = engine.image.rpartition(":")
    if facts.is_production and "@sha256:" not in engine.image and engine.version not in tag:
        yield (
            f"engine.image of {facts.configuration.recipe.name} is {engine.image!r}: neither a digest nor a tag of "
            f"version {engine.version}, so the next build may hold another engine; edit the recipe"
        )


def _protected_weights(facts: StackFacts) -> Iterator[str]:
    if not facts.is_production:
        return
    for resource in (*facts.of_kind("Volume"), *facts.of_kind("ModelWeights")):
        if resource.name.startswith("weights") and not (resource.protected and resource.inputs.get("retain")):
            yield (
                f"{resource.name} can be destroyed with the stack; `pulumi config set protectWeights true` and "
                "`pulumi config set retainWeights true`"
            )


OWN = [
    Rule("budget", None, "mandatory", "the expected month is within budget.maxMonthlyUsd; production has a budget",
         "`budget.maxMonthlyUsd`, fewer warm hours", _budget, _PRODUCTION),
    Rule("maximum-gpus", None, "mandatory", "no more GPUs than maxGpus with every replica up",
         "`scaling.maxContainers`, or `maxGpus` in limits.json", _maximum_gpus, {"maxGpus": 24}),
    Rule("warm-replicas-end", None, "mandatory", "warm replicas only with a schedule or an end",
         "`schedule`, or `schedule.until`", _warm_replicas_end),
    Rule("authenticated-endpoint", None, "mandatory", "the endpoint asks for a key",
         "the recipe's `secrets.apiKey`", _authenticated),
    Rule("pinned-revision", None, "mandatory", "production serves a commit of the model, not a branch",
         "`model.revision` in the recipe", _pinned_revision, _PRODUCTION),
    Rule("pinned-image", None, "mandatory", "production runs an image of one exact version",
         "`engine.image` in the recipe", _pinned_image, _PRODUCTION),
    Rule("protected-weights", None, "mandatory", "production's weights cannot be destroyed by accident",
         "`protectWeights`, `retainWeights`", _protected_weights, _PRODUCTION),
]  # fmt: skip

RULES = [*OWN, *REVIEW]
