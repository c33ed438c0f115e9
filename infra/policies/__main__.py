"""The policy pack: `pulumi preview --policy-pack infra/policies --policy-pack-config infra/policies/limits.json`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)

from components.modal_rates import priced, rates_from
from infra.configuration import Configuration
from infra.policies.facts import Resource, Rule, StackFacts
from infra.policies.rules import RULES
from infra.review.events import STACK_TYPE

_JSON_TYPES = {int: "number", float: "number", list: "array"}


def policy(rule: Rule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report_violation: ReportViolation) -> None:
        facts = _facts(args, {**rule.limits, **args.get_config()})
        for problem in rule.check(facts) if facts else ():
            report_violation(problem, None)

    properties: dict[str, Any] = {
        name: {"type": _JSON_TYPES[type(value)], "default": value} for name, value in rule.limits.items()
    }
    row = f" (deployment review, row {rule.row})" if rule.row else ""
    return StackValidationPolicy(
        name=rule.name,
        description=rule.says + row,
        validate=validate,
        enforcement_level=EnforcementLevel(rule.level),
        config_schema=PolicyConfigSchema(properties=properties) if properties else None,
    )


def _facts(args: StackValidationArgs, limits: dict[str, Any]) -> StackFacts | None:
    """None for a stack that has nothing of ours, such as one that is being destroyed."""
    stacks = [resource for resource in args.resources if resource.resource_type == STACK_TYPE]
    if not stacks:
        return None
    configuration = Configuration.model_validate(_plain(stacks[0].props["configuration"]))
    recipe = priced(configuration.recipe, rates_from())
    return StackFacts(
        stack=stacks[0].urn.split(":")[2],
        configuration=configuration.model_copy(update={"recipe": recipe}),
        resources=[
            Resource(found.name, found.resource_type.rsplit(":", 1)[1], found.props, bool(found.opts.protect))
            for found in args.resources
        ],
        today=datetime.now(UTC).date(),
        limits=limits,
    )


def _plain(value: Any) -> Any:
    """The SDK hands properties over in wrappers that tell unknown values; these are all known."""
    if hasattr(value, "items"):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list | tuple) or (hasattr(value, "__len__") and not isinstance(value, str | bytes)):
        return [_plain(value[place]) for place in range(len(value))]
    return int(value) if isinstance(value, float) and value.is_integer() else value


PolicyPack(name="glm-serving", policies=[policy(rule) for rule in RULES])
