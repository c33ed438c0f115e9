"""Makes the things that plan.json lists: {name: {kind, text, more, deleteFirst, opts}}; `$other.output` refers to an
output of another thing, `!text` is a secret, `in` puts it into a component.
"""

import json
import signal
from pathlib import Path
from typing import Any

signal.signal(signal.SIGINT, signal.SIG_DFL)

import pulumi  # noqa: E402
from things import Thing  # noqa: E402

plan = json.loads(Path("../plan.json").read_text())
things: dict[str, Thing] = {}
groups: dict[str, pulumi.ComponentResource] = {}


def value_of(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        name, output = value[1:].split(".")
        return getattr(things[name], output)
    if isinstance(value, str) and value.startswith("!"):
        return pulumi.Output.secret(value[1:])
    if isinstance(value, dict):
        return {key: value_of(item) for key, item in value.items()}
    return value


for name, props in plan["things"].items():
    options = dict(props.pop("opts", {}))
    if options.pop("hooked", False):
        options["hooks"] = pulumi.ResourceHookBinding(before_create=[lambda args: None])
    group = options.pop("in", None)
    if group and group not in groups:
        groups[group] = pulumi.ComponentResource("things:index:Group", group)
    opts = pulumi.ResourceOptions(
        parent=groups.get(group),
        depends_on=[things[other] for other in options.pop("after", [])],
        aliases=[pulumi.Alias(name=old) for old in options.pop("formerly", [])],
        **options,
    )
    props = {"kind": "plain", "name": name, **props}
    things[name] = Thing(name, {key: value_of(value) for key, value in props.items()}, opts)
for group in groups.values():
    group.register_outputs({})
config = pulumi.Config()
for key in plan.get("required", []):
    config.require(key)
for key, value in plan.get("outputs", {}).items():
    pulumi.export(key, value_of(value))
if "secret" in plan:
    pulumi.export("fromConfig", config.require_secret(plan["secret"]))
if "log" in plan:
    pulumi.log.warn(plan["log"])
