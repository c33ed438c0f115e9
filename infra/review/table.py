"""A preview as a review: one table of steps, then what it means for capacity, money and memory."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from infra.review.durations import dollars, minutes
from infra.review.efforts import Effort

_WIDTHS = (15, 12, 54, 12)
_HEADS = ("step", "change", "why", "time", "once")
_LABEL = 12
_LINE = 118


@dataclass(frozen=True)
class Row:
    step: str
    change: str
    why: list[str]
    effort: Effort


@dataclass
class Review:
    stack: str
    headline: str
    rows: list[Row]
    unchanged: list[str]
    facts: list[tuple[str, list[str]]] = field(default_factory=list)
    """A label and its lines, in the order in which they are read."""
    total: Effort = field(default_factory=Effort)

    def as_text(self) -> str:
        lines = [f"{self.stack}: {self.headline}"]
        if self.rows:
            lines += ["", _columns(*_HEADS), _columns(*("─" * width for width in (*_WIDTHS, 14)))]
            for row in self.rows:
                lines += _text_row(row)
            lines += [_columns("total", "", "", minutes(self.total.seconds), dollars(self.total.dollars))]
        if self.unchanged:
            lines += labelled("unchanged", [", ".join(self.unchanged)])
        for label, told in self.facts:
            lines += labelled(label, told)
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """For a comment on a pull request; GitHub knows a comment of ours by its first line."""
        lines = [f"<!-- review of {self.stack} -->", f"### `{self.stack}`: {self.headline}", ""]
        if self.rows:
            lines += [f"| {' | '.join(_HEADS)} |", "| --- | --- | --- | --- | --- |"]
            for row in self.rows:
                why = "<br>".join(_escaped(reason) for reason in row.why)
                cells = (row.step, row.change, why, minutes(row.effort.seconds), dollars(row.effort.dollars))
                lines.append(f"| {' | '.join(cells)} |")
            lines += [f"| **total** | | | {minutes(self.total.seconds)} | {dollars(self.total.dollars)} |", ""]
        if self.unchanged:
            lines += [f"Unchanged: {', '.join(self.unchanged)}.", ""]
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| **{label}** | {'<br>'.join(_escaped(line) for line in told)} |" for label, told in self.facts]
        return "\n".join(lines)


def failed_as_markdown(stack: str, told: str) -> str:
    """For a preview that did not get to its end, such as one of a wrong stack file."""
    return f"<!-- review of {stack} -->\n### `{stack}`: no preview\n\n```\n{told.strip()}\n```\n"


def _columns(*cells: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*padded, *cells[len(_WIDTHS) :]]).rstrip()


def _text_row(row: Row) -> list[str]:
    why = [
        part
        for reason in row.why
        for part in textwrap.wrap(reason, _WIDTHS[2], subsequent_indent="  ", break_on_hyphens=False)
    ]
    first = _columns(row.step, row.change, why[0], minutes(row.effort.seconds), dollars(row.effort.dollars))
    return [first, *(_columns("", "", part) for part in why[1:])]


def labelled(label: str, told: list[str]) -> list[str]:
    lines: list[str] = []
    for line in told:
        indent = len(line) - len(line.lstrip(" "))
        lines += textwrap.wrap(line, _LINE - _LABEL, subsequent_indent=" " * (indent + 2), break_on_hyphens=False) or [
            ""
        ]
    return ["", *(f"{label if place == 0 else '':<{_LABEL}}{line}".rstrip() for place, line in enumerate(lines))]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").strip()
