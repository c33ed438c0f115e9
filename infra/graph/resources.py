"""The resources of a stack, from its state or from a preview, and what depends on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.review.events import KINDS, STACK_TYPE

DEPLOYED, DRIFTED, INTERRUPTED = "deployed", "drifted", "interrupted"
_PLANNED = {**KINDS, "same": DEPLOYED}
_NOT_DRAWN = ("pulumi:pulumi:Stack", "pulumi:providers:")
Document = Mapping[str, Any]


@dataclass
class Node:
    urn: str
    kind: str
    """`Volume`, `ServingApp`, …"""
    state: str
    """DEPLOYED, DRIFTED or INTERRUPTED; of a preview `create`, `update`, `replace` or `delete`."""
    inputs: Document = field(default_factory=dict)
    outputs: Document = field(default_factory=dict)
    after: list[str] = field(default_factory=list)
    """The URNs that it depends on."""
    protected: bool = False

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[1]


@dataclass
class Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    """By URN."""
    configuration: Document | None = None
    """Of the last deploy (infra/configuration.py); None before the first."""

    def note(self, resource: Document, state: str) -> None:
        urn, kind = resource["urn"], resource["type"]
        outputs = resource.get("outputs") or {}
        if kind == STACK_TYPE:
            self.configuration = outputs.get("configuration") or self.configuration
        elif not kind.startswith(_NOT_DRAWN):
            self.nodes[urn] = Node(
                urn,
                kind.rsplit(":", 1)[1],
                state,
                resource.get("inputs") or {},
                outputs,
                list(resource.get("dependencies") or []),
                bool(resource.get("protect")),
            )

    def edges(self) -> list[tuple[str, str]]:
        """From what comes first to what needs it, without those that others imply."""
        needs = {urn: {other for other in node.after if other in self.nodes} for urn, node in self.nodes.items()}
        reached: dict[str, set[str]] = {}

        def all_before(urn: str) -> set[str]:
            if urn not in reached:
                reached[urn] = set()  # a state edited by hand may have a circle
                reached[urn] = needs[urn].union(*(all_before(other) for other in needs[urn]))
            return reached[urn]

        # In one order, so that a picture of the same is the same: what Pulumi registers first differs from run to run.
        return sorted(
            (before, urn)
            for urn, direct in needs.items()
            for before in direct
            if not any(before in all_before(other) for other in direct - {before})
        )


def of_state(document: Document) -> Graph:
    """Of `pulumi stack export`: what is deployed, what a refresh found to differ, what was broken off."""
    deployment = document.get("deployment") or {}
    graph = Graph()
    for resource in deployment.get("resources") or []:
        if not resource.get("delete"):  # what a replacement has left over
            graph.note(resource, DRIFTED if _drifted(resource.get("outputs") or {}) else DEPLOYED)
    for operation in deployment.get("pending_operations") or []:
        graph.note(operation["resource"], INTERRUPTED)
    return graph


def of_preview(document: Document, before: Graph) -> Graph:
    """Of `pulumi preview --json --show-sames`, over what is there."""
    graph = Graph(dict(before.nodes), before.configuration)
    for step in document.get("steps") or []:
        kind = _PLANNED.get(step["op"])
        resource = step.get("newState") or step.get("oldState")
        if kind is None or resource is None:
            continue
        known = graph.nodes.get(step["urn"])
        state = known.state if known and (kind == DEPLOYED or known.state == "replace") else kind
        outputs = (step.get("oldState") or {}).get("outputs") or (known.outputs if known else {})
        graph.note({**resource, "outputs": outputs}, state)
    return graph


def _drifted(outputs: Document) -> bool:
    live = outputs.get("liveVersion")
    return bool(outputs.get("problems")) or (live is not None and live != outputs.get("version"))


def ordered(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (node.kind, node.name))
