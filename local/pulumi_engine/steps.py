"""One operation on one resource, and how the CLI calls it."""

from __future__ import annotations

from dataclasses import dataclass, field

from local.pulumi_engine.checkpoint import State

PENDING = {
    "create": "creating",
    "create-replacement": "creating",
    "update": "updating",
    "delete": "deleting",
    "delete-replaced": "deleting",
}
WORDS = {
    "same": ("  ", "", "", ""),
    "create": ("+ ", "create", "creating", "created"),
    "update": ("~ ", "update", "updating", "updated"),
    "delete": ("- ", "delete", "deleting", "deleted"),
    "replace": ("+-", "replace", "replacing", "replaced"),
    "create-replacement": ("++", "create replacement", "creating replacement", "created replacement"),
    "delete-replaced": ("--", "delete original", "deleting original", "deleted original"),
    "remove-pending-replace": ("~ ", "complete replace", "completing replace", "completed replace"),
    "refresh": ("~ ", "refreshing", "refreshing", "refreshed"),
}
"""Sign, and the word in a preview, while it runs, when it is done."""


@dataclass(eq=False)
class Step:
    op: str
    old: State | None
    new: State | None
    keys: list[str] = field(default_factory=list)
    """The properties for which the resource is replaced."""
    changes: dict[str, str] = field(default_factory=dict)
    """Top-level inputs that differ: add, delete or update."""
    ahead: bool = False
    """An original that goes before its replacement comes."""
    applied: bool = False
    result: str = ""
    """What a refresh found: same, update or delete."""

    @property
    def state(self) -> State:
        state = self.new or self.old
        assert state
        return state

    @property
    def shown(self) -> str:
        """The operation that it turned out to be."""
        return self.result or self.op
