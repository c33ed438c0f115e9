"""A whole log in one report: every known kind of line with its meaning, worst first, then the warnings nobody knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from serving.log_lines import Level, plain, warns
from serving.log_triage import Finding, classify

_ORDER: dict[str, int] = {"fatal": 0, "error": 1, "monitor": 2, "info": 3}
_WIDTH = 160
_DIGITS = re.compile(r"\d+")
_STAMP = re.compile(r"^\[[^\]]*\]\s*|^(?:\([^)]*\)\s*)?[A-Z]+ \d\d-\d\d [\d:]+ (?:\[[^\]]*\]\s*)?")
_MOST_UNKNOWN = 40


def kind_of(text: str) -> str:
    """The same for two lines that differ in their time and numbers alone."""
    return _DIGITS.sub("#", _STAMP.sub("", text))


class LogReport:
    """Feed it lines; `text()` is the report, `alarming` whether anything in it is an error or worse."""

    def __init__(self, *, compiling: bool = False, engine: str | None = None) -> None:
        self._compiling = compiling
        self._engine = engine
        self._lines = 0
        self._counts: Counter[Finding] = Counter()
        self._first: dict[Finding, tuple[int, str]] = {}
        self._unknown: Counter[tuple[Level, str]] = Counter()
        self._first_unknown: dict[tuple[Level, str], tuple[int, str]] = {}

    def read_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.read(line)

    def read(self, line: str) -> None:
        self._lines += 1
        text = plain(line).strip()
        if finding := classify(text, compiling=self._compiling, engine=self._engine):
            self._counts[finding] += 1
            self._first.setdefault(finding, (self._lines, text[:_WIDTH]))
        elif level := warns(text):
            kind = (level, kind_of(text))
            self._unknown[kind] += 1
            self._first_unknown.setdefault(kind, (self._lines, text[:_WIDTH]))

    @property
    def unknown(self) -> list[str]:
        """The first line of each kind of warning or error that no rule knows."""
        return [line for _, line in self._first_unknown.values()]

    @property
    def alarming(self) -> bool:
        severities = {finding.severity for finding in self._counts}
        return bool(severities & {"fatal", "error"}) or any(level == "error" for level, _ in self._unknown)

    def text(self) -> str:
        if not self._counts and not self._unknown:
            return f"{self._lines} lines, none that needs explaining"
        known, unknown = sum(self._counts.values()), sum(self._unknown.values())
        parts = [f"{self._lines} lines, {known} known, {unknown} warnings that no rule knows"]
        for finding in sorted(self._counts, key=lambda f: (_ORDER[f.severity], self._first[f][0])):
            number, line = self._first[finding]
            parts.append(
                f"{finding.severity.upper():8}{finding.rule} ({self._counts[finding]}x, first in line {number})\n"
                f"        {line}\n        meaning: {finding.meaning}\n        action:  {finding.action}"
            )
        shown = sorted(self._unknown, key=lambda kind: (kind[0] != "error", self._first_unknown[kind][0]))
        for kind in shown[:_MOST_UNKNOWN]:
            number, line = self._first_unknown[kind]
            parts.append(f"UNKNOWN {kind[0]} ({self._unknown[kind]}x, first in line {number})\n        {line}")
        if more := len(shown) - _MOST_UNKNOWN:
            parts.extend([f"UNKNOWN and {more} more kinds"] if more > 0 else [])
        return "\n".join(parts)
