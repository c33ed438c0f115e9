"""A sweep as one SVG: first token, time per token, throughput and errors over the streams. No library is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 46, 44
_COLORS = ("#1b6ca8", "#d1495b", "#66a182", "#8d6a9f", "#edae49", "#2e4057")


@dataclass(frozen=True)
class Line:
    name: str
    points: list[tuple[float, float]]
    """Streams and value."""


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    lines: list[Line]


def panels(results: Sequence[tuple[str, dict[str, Any]]]) -> list[Panel]:
    """Of one result, or of several with the names they go by."""

    def lines(key: str, share: str | None, name: str) -> list[Line]:
        found = []
        for title, result in results:
            label = " ".join(part for part in (title, name) if part)
            points = []
            for level in result["levels"]:
                value = (level[key] or {}).get(share) if share else level[key]
                if value is not None:
                    points.append((float(level["streams"]), float(value)))
            if points:
                found.append(Line(label, sorted(points)))
        return found

    ends = ("p50", "p95") if len(results) == 1 else ("p50",)
    errors = [
        Line(line.name, [(streams, 100 * value) for streams, value in line.points])
        for line in lines("errorRate", None, "")
    ]
    return [
        Panel("Time to first token", "ms", [line for end in ends for line in lines("ttftMs", end, end)]),
        Panel("Time per output token", "ms", [line for end in ends for line in lines("tpotMs", end, end)]),
        Panel("Output tokens a second, all streams", "tok/s", lines("tokensPerSecond", None, "")),
        Panel("Failed requests", "%", errors),
    ]


def svg(title: str, found: Sequence[Panel]) -> str:
    """Two panels a row; the horizontal axis is logarithmic, as a sweep's levels are."""
    rows = -(-len(found) // 2)
    width, height = 2 * _WIDTH, 40 + rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="26" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for number, panel in enumerate(found):
        x, y = (number % 2) * _WIDTH, 40 + (number // 2) * _HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(panel)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> str:
    parts = [f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold">{escape(panel.title)}, {panel.unit}</text>']
    streams = sorted({streams for line in panel.lines for streams, _ in line.points})
    if not streams:
        return parts[0] + f'<text x="{_LEFT}" y="{_HEIGHT // 2}" fill="#666">nothing measured</text>'
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    step, top = scale(max(value for line in panel.lines for _, value in line.points))
    low, high = math.log(streams[0]), math.log(streams[-1])

    def across(value: float) -> float:
        return (_LEFT + right) / 2 if high == low else _LEFT + (right - _LEFT) * (math.log(value) - low) / (high - low)

    def up(value: float) -> float:
        return bottom - (bottom - _TOP) * value / top

    for tick in range(round(top / step) + 1):
        y = up(tick * step)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick * step:,.4g}</text>')
    for value in streams:
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle" fill="#666">streams</text>')
    x = float(_LEFT)
    for number, line in enumerate(panel.lines):
        color = _COLORS[number % len(_COLORS)]
        points = " ".join(f"{across(streams):.1f},{up(value):.1f}" for streams, value in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        for streams_, value in line.points:
            parts.append(f'<circle cx="{across(streams_):.1f}" cy="{up(value):.1f}" r="3" fill="{color}"/>')
        if line.name:
            parts.append(f'<rect x="{x:.0f}" y="24" width="10" height="10" fill="{color}"/>')
            parts.append(f'<text x="{x + 14:.0f}" y="33">{escape(line.name)}</text>')
            x += 28 + 6.2 * len(line.name)
    return "".join(parts)


def scale(most: float) -> tuple[float, float]:
    """A round step, and the multiple of it that the axis ends with, at least `most`; a step of 1 where all is 0."""
    if most <= 0:
        return 1.0, 1.0
    rough = most / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return step, step * math.ceil(most / step - 1e-9)
