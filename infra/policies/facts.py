"""What the policies judge: a stack's settings, its resources, and the rule that judges them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from infra.configuration import Configuration


@dataclass(frozen=True)
class Resource:
    name: str
    kind: str
    """`Volume`, `ServingApp`, …"""
    inputs: Mapping[str, Any]
    """May hold values that a preview does not know: reading those ends the policy."""
    protected: bool = False


@dataclass(frozen=True)
class StackFacts:
    stack: str
    configuration: Configuration
    """With Modal's own prices where the preview has asked for them."""
    resources: list[Resource]
    today: date
    limits: Mapping[str, Any] = field(default_factory=dict)
    """The rule's own, from limits.json or its defaults."""

    @property
    def is_production(self) -> bool:
        return self.stack in self.limits["productionStacks"]

    def of_kind(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource.kind == kind]


@dataclass(frozen=True)
class Rule:
    name: str
    row: int | None
    """Of the guide's deployment review, 1 to 10; None for what is not of it."""
    level: Literal["mandatory", "advisory"]
    says: str
    satisfied_by: str
    """What to type or edit where it does not hold."""
    check: Callable[[StackFacts], Iterator[str]]
    """What is wrong, a sentence each."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Its limits and their defaults."""
