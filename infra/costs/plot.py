"""The table of a month as a picture: dollars by strategy, and the replicas of one week of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from infra.configuration import Configuration
from infra.costs.strategies import Month, Traffic, strategies, used
from infra.costs.traffic import Span
from infra.drawing import FAINT, INK, LINE, Drawing, width_of
from infra.review.durations import sum_of_money

_GUIDE, _BILLED, _ASKED, _UP = "#b8c4d3", "#2f6fb0", "#e0912f", "#2f6fb0"
_WIDTH, _LEFT, _RIGHT = 960, 150, 24
_BAR, _ROW, _TOP = 15, 46, 74
_STRIP, _STRIP_ROW = 22, 34


def plot(configuration: Configuration, traffic: Traffic, rows: Sequence[Month], stack: str, today: datetime) -> str:
    """As SVG. The week is the first whole one, from a Monday on, in the traffic's time zone."""
    week_top = _TOP + _ROW * len(rows) + 70
    height = week_top + _STRIP_ROW * (len(rows) + 1) + 56
    drawing = Drawing(_WIDTH, height, f"Monthly cost of stack {stack} by strategy")
    gpu = configuration.recipe.gpu
    drawing.text(24, 30, f"{stack}: a month on {gpu.count}×{gpu.type}", 17, bold=True)
    _legend(drawing, [(_GUIDE, "guide's sum, at eight hours a day"), (_BILLED, "as billed at this traffic")], 54)
    _bars(drawing, rows)
    drawing.text(24, week_top - 14, "Replicas in a week", 14, bold=True)
    _legend(drawing, [(_ASKED, "somebody asks"), (_UP, "a replica is up (darker: more)")], week_top - 14, 190)
    zone = ZoneInfo(traffic.timezone)
    monday = today.astimezone(zone).date() + timedelta(7 - today.astimezone(zone).weekday())
    start = datetime.combine(monday, time(), zone).astimezone(UTC)
    end = datetime.combine(monday + timedelta(7), time(), zone).astimezone(UTC)
    strips: list[tuple[str, list[Span], str]] = [("requests", traffic.spans(start, end), _ASKED)]
    for strategy, row in zip((*strategies(traffic), None), rows, strict=True):
        strips.append((row.name, used(configuration, strategy, traffic, start, end).replicas, _UP))
    most = max((count for _, spans, _ in strips[1:] for *_, count in spans), default=1) or 1
    for place, (name, spans, colour) in enumerate(strips):
        _strip(drawing, week_top + place * _STRIP_ROW, name, spans, colour, start, end, most)
    _days(drawing, week_top + len(strips) * _STRIP_ROW, monday.isoformat(), traffic.timezone)
    return drawing.as_svg()


def _legend(drawing: Drawing, entries: list[tuple[str, str]], y: float, x: float = 24) -> None:
    for colour, text in entries:
        drawing.rectangle(x, y - 10, 11, 11, colour, radius=2)
        drawing.text(x + 17, y, text, 12, fill=FAINT)
        x += 17 + width_of(text, 12) + 26


def _bars(drawing: Drawing, rows: Sequence[Month]) -> None:
    room = _WIDTH - _LEFT - _RIGHT - 150
    most = max([row.dollars for row in rows] + [row.guide_dollars or 0 for row in rows]) or 1
    for place, row in enumerate(rows):
        y = _TOP + place * _ROW
        drawing.text(24, y + _BAR + 5, row.name, 13, bold=row.guide_dollars is None)
        for offset, value, colour in ((0, row.guide_dollars, _GUIDE), (_BAR + 2, row.dollars, _BILLED)):
            if value is None:
                continue
            width = max(1.0, room * value / most)
            drawing.rectangle(_LEFT, y + offset, width, _BAR, colour, radius=2)
            told = sum_of_money(round(value))
            if offset and row.cold_starts:
                told += f", {row.cold_starts:.0f} cold starts"
            drawing.text(_LEFT + width + 7, y + offset + _BAR - 3, told, 11.5, fill=INK if offset else FAINT)


def _strip(
    drawing: Drawing, y: float, name: str, spans: list[Span], colour: str, start: datetime, end: datetime, most: int
) -> None:
    room = _WIDTH - _LEFT - _RIGHT
    drawing.text(24, y + _STRIP - 6, name, 12.5)
    drawing.rectangle(_LEFT, y, room, _STRIP, "#f1f4f7")
    for since, till, count in spans:
        since, till = max(since, start), min(till, end)
        if count and till > since:
            x, width = (room * (span / (end - start)) for span in (since - start, till - since))
            drawing.rectangle(_LEFT + x, y, max(width, 1), _STRIP, colour, opacity=min(1, 0.35 + 0.65 * count / most))


def _days(drawing: Drawing, y: float, monday: str, timezone: str) -> None:
    room = _WIDTH - _LEFT - _RIGHT
    for day, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")):
        x = _LEFT + room * day / 7
        drawing.line(x, y - _STRIP_ROW + _STRIP, x, y, LINE)
        drawing.text(x + room / 14, y + 6, name, 12, fill=FAINT, anchor="middle")
    drawing.text(_WIDTH - _RIGHT, y + 30, f"from {monday}, {timezone}", 11, fill=FAINT, anchor="end")
