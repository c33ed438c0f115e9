"""The picture of a graph of resources, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from infra.configuration import Configuration
from infra.drawing import FAINT, Drawing, width_of
from infra.graph.layout import lay_out
from infra.graph.notes import headline, notes
from infra.graph.resources import Graph, Node, ordered

_COLOURS = {
    "deployed": ("#e8f4ec", "#3c9a5f"),
    "drifted": ("#fff3da", "#d08a12"),
    "interrupted": ("#fde7e7", "#c43d3d"),
    "create": ("#e4eefb", "#2f6fb0"),
    "update": ("#fff3da", "#d08a12"),
    "replace": ("#f3e8fb", "#8a4bb3"),
    "delete": ("#fde7e7", "#c43d3d"),
}
"""Of a box and its border, by state."""
_BOX, _TALL, _GAP, _DOWN = 212, 80, 26, 34
_MARGIN, _TOP = 28, 84


def picture(graph: Graph, stack: str, configuration: Configuration) -> str:
    """As SVG. `configuration` is the one whose costs are told."""
    nodes = ordered(graph.nodes.values())
    layout = lay_out([node.urn for node in nodes], graph.edges())
    states = [state for state in _COLOURS if any(node.state == state for node in nodes)]
    title, told = f"{stack}: {len(nodes)} resources", headline(configuration)
    width = max(
        2 * _MARGIN + (max(layout.place.values(), default=0) + 1) * (_BOX + _GAP) - _GAP,
        2 * _MARGIN + width_of(told, 12.5),
    )
    height = _TOP + len(layout.layers) * (_TALL + _DOWN) - _DOWN + 52
    drawing = Drawing(width, height, f"{title}. {told}")
    drawing.text(_MARGIN, 34, title, 18, bold=True)
    drawing.text(_MARGIN, 56, told, 12.5, fill=FAINT)
    left = (width - (max(layout.place.values(), default=0) + 1) * (_BOX + _GAP) + _GAP) / 2
    middles = {item: left + _BOX / 2 + at * (_BOX + _GAP) for item, at in layout.place.items()}
    tops = {item: _TOP + row * (_TALL + _DOWN) for row, layer in enumerate(layout.layers) for item in layer}
    for before, after in graph.edges():
        bends = [(middles[before, after, row], _TOP + row * (_TALL + _DOWN)) for row, _ in layout.bends(before, after)]
        drawing.arrow(_way((middles[before], tops[before] + _TALL), bends, (middles[after], tops[after] - 2)))
    for node in nodes:
        _draw_node(drawing, node, middles[node.urn] - _BOX / 2, tops[node.urn], notes(node, configuration))
    _legend(drawing, states, height - 20)
    return drawing.as_svg()


def _way(start: tuple[float, float], bends: Sequence[tuple[float, float]], end: tuple[float, float]) -> str:
    """Curves between the layers, straight through the ones that an edge passes."""
    x, y = start
    path = f"M{x:.1f} {y:.1f}"
    for next_x, next_y in [*bends, end]:
        half = (next_y - y) / 2
        path += f" C{x:.1f} {y + half:.1f} {next_x:.1f} {next_y - half:.1f} {next_x:.1f} {next_y:.1f}"
        x, y = next_x, next_y
        if (next_x, next_y) != end:
            y += _TALL
            path += f" V{y:.1f}"
    return path


def _draw_node(drawing: Drawing, node: Node, x: float, y: float, told: list[str]) -> None:
    fill, border = _COLOURS[node.state]
    dashed = node.state in ("create", "delete", "interrupted")
    drawing.rectangle(x, y, _BOX, _TALL, fill, stroke=border, radius=7, dashed=dashed)
    drawing.text(x + 11, y + 20, node.name, 13, bold=True)
    drawing.text(x + _BOX - 10, y + 20, "protected" if node.protected else "", 10, fill=FAINT, anchor="end")
    drawing.text(x + 11, y + 37, node.kind if node.kind.lower() != node.name else "", 11, fill=border)
    drawing.text(x + _BOX - 10, y + 37, node.state, 10.5, fill=border, anchor="end")
    for row, line in enumerate(told):
        size = min(10.5, 10.5 * (_BOX - 20) / max(1.0, width_of(line, 10.5)))
        drawing.text(x + 11, y + 54 + 15 * row, line, size)


def _legend(drawing: Drawing, states: list[str], y: float) -> None:
    x = float(_MARGIN)
    for state in states:
        fill, border = _COLOURS[state]
        drawing.rectangle(x, y - 10, 14, 11, fill, stroke=border, radius=2)
        drawing.text(x + 20, y, state, 11.5, fill=FAINT)
        x += 20 + width_of(state, 11.5) + 24
