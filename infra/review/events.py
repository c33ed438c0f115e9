"""What Pulumi's engine says of a preview: its event log, one JSON document a line, as steps and messages.

The CLI writes the log with `--event-log FILE` (where PULUMI_DEBUG_COMMANDS is set, as the Automation API does); the
bundled engine writes the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for a value that a preview cannot know."""
STACK_TYPE = "glm-serving:index:LlmStack"
KINDS = {
    "create": "create",
    "update": "update",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "delete": "delete",
    "same": "none",
}


@dataclass
class Step:
    """What is to happen to one resource. Values are as in the engine's log: secrets are hidden."""

    name: str
    kind: str
    """`create`, `update`, `replace`, `delete` or `none`."""
    old: dict[str, Any] = field(default_factory=dict)
    """Inputs in the state."""
    new: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    """In the state."""


@dataclass
class Preview:
    steps: list[Step] = field(default_factory=list)
    before: dict[str, Any] | None = None
    """The configuration of the last deploy (infra/configuration.py); None for a stack that is new."""
    after: dict[str, Any] | None = None
    """This one's; None where the program did not get that far."""
    messages: list[tuple[str, str]] = field(default_factory=list)
    """Severity (`error`, `warning`) and text."""
    violations: list[tuple[str, str, str]] = field(default_factory=list)
    """Policy, level (`mandatory`, `advisory`) and text."""
    policies: bool = False
    """Whether a policy pack was asked."""


def read_events(lines: Iterable[str]) -> Preview:
    """Of the log's lines; what is cut off or of another kind is passed over."""
    preview = Preview()
    steps: dict[str, Step] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if found := event.get("resourcePreEvent"):
            _note_step(found["metadata"], steps)
        elif found := event.get("resOutputsEvent"):
            _note_configuration(found["metadata"], preview)
        elif found := event.get("diagnosticEvent"):
            if found.get("severity") in ("error", "warning") and not found.get("ephemeral"):
                preview.messages.append((found["severity"], found["message"].strip()))
        elif found := event.get("policyEvent"):
            text = found["message"].strip()
            preview.violations.append((found["policyName"], found["enforcementLevel"], text))
        elif event.get("policyAnalyzeStackSummaryEvent") is not None or event.get("policyLoadEvent") is not None:
            preview.policies = True
    preview.steps = list(steps.values())
    return preview


def _note_step(metadata: dict[str, Any], steps: dict[str, Step]) -> None:
    kind, urn = KINDS.get(metadata["op"]), metadata["urn"]
    if kind is None or "pulumi:providers:" in urn or metadata["type"] in ("pulumi:pulumi:Stack", STACK_TYPE):
        return
    step = steps.setdefault(urn, Step(urn.rsplit("::", 1)[1], kind))
    step.kind = kind if step.kind == "none" else step.kind
    old, new = metadata.get("old") or {}, metadata.get("new") or {}
    step.old = old.get("inputs") or step.old
    step.outputs = old.get("outputs") or step.outputs
    step.new = new.get("inputs") or step.new


def _note_configuration(metadata: dict[str, Any], preview: Preview) -> None:
    if metadata["type"] != STACK_TYPE:
        return
    for place in ("old", "new"):
        found = ((metadata.get(place) or {}).get("outputs") or {}).get("configuration")
        if isinstance(found, dict):
            if place == "old":
                preview.before = found
            else:
                preview.after = found
