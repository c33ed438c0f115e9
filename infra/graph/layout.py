"""Places for the nodes of a graph without circles: in layers, each below all that it needs, crossings few."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

_ROUNDS = 24
Bend = tuple[str, str, int]
"""Where an edge passes a layer between its ends."""


@dataclass(frozen=True)
class Layout:
    layers: list[list[str | Bend]]
    place: dict[str | Bend, float]
    """The middle, from the left, in widths of a node and its gap; 0 is the leftmost node's."""

    def bends(self, before: str, after: str) -> list[tuple[int, float]]:
        """Layer and place of each, from `before` on."""
        found = [
            (bend[2], at) for bend, at in self.place.items() if isinstance(bend, tuple) and bend[:2] == (before, after)
        ]
        return sorted(found)


def lay_out(nodes: Iterable[str], edges: list[tuple[str, str]]) -> Layout:
    """A node comes as late as what needs it allows, so that edges are short."""
    names = list(nodes)
    depth = _depths(names, edges)
    layers: list[list[str | Bend]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in names:
        layers[depth[name]].append(name)
    links: list[tuple[str | Bend, str | Bend]] = []
    for before, after in edges:
        chain: list[str | Bend] = [before]
        for row in range(depth[before] + 1, depth[after]):
            bend = (before, after, row)
            layers[row].append(bend)
            chain.append(bend)
        chain.append(after)
        links += pairwise(chain)
    place: dict[str | Bend, float] = {item: at for layer in layers for at, item in enumerate(layer)}
    near: dict[str | Bend, list[str | Bend]] = {item: [] for item in place}
    for one, other in links:
        near[one].append(other)
        near[other].append(one)
    for step in range(_ROUNDS):
        for layer in layers if step % 2 else reversed(layers):
            wanted = {item: mean(place[other] for other in near[item]) if near[item] else place[item] for item in layer}
            layer.sort(key=lambda item: wanted[item])
            place.update(_apart(layer, wanted))
    leftmost = min(place.values(), default=0)
    # In quarters, so that what is almost above each other is.
    return Layout(layers, {item: round(4 * (at - leftmost)) / 4 for item, at in place.items()})


def _depths(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """The longest way from the top; then each node down to just above the first that needs it."""
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {name: [] for name in names}
    for one, other in edges:
        before[other].append(one)
        after[one].append(other)
    depth = dict.fromkeys(names, 0)
    for _ in names:  # a circle, which only a broken state has, ends here too
        for name in names:
            depth[name] = min(len(names), max((depth[other] + 1 for other in before[name]), default=0))
    for _ in names:
        for name in names:
            if after[name]:
                depth[name] = max(0, min(depth[other] for other in after[name]) - 1)
    return depth


def _apart(layer: list[str | Bend], wanted: dict[str | Bend, float]) -> dict[str | Bend, float]:
    """As near as possible to where they want to be, one apart, around their common middle."""
    at: list[float] = []
    for item in layer:
        at.append(max(wanted[item], at[-1] + 1) if at else wanted[item])
    shift = mean(wanted[item] for item in layer) - mean(at) if at else 0
    return {item: found + shift for item, found in zip(layer, at, strict=True)}
