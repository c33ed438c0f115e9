"""Reads what an engine says while it runs: tags each kind of known line once, counts all of them."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Container

from serving.log_lines import warns
from serving.log_pump import LineSink
from serving.log_triage import TAG, Finding, classify

UNKNOWN = "unknown"

# Written for every batch and every request: no rule is about them, and trying all on each would take more of the CPU
# than all else this process does. Whatever text a client puts into a path is no news of the engine's, either.
_ROUTINE = re.compile(r'\] (?:Prefill|Decode) batch, #|"[A-Z]+ \S+ HTTP/\d\.\d" [1-4]\d\d\b')


class LogWatch:
    """`read` takes the engine's lines, `count` the supervisor's own, from any thread; `tag` gets a line after the
    engine's first of each kind. `stopping`: rules whose lines end a start.
    """

    def __init__(self, engine: str, tag: LineSink, stopping: Container[str] = ()) -> None:
        self._engine = engine
        self._tag = tag
        self._stopping = stopping
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.refusal: str | None = None
        """Why no container that said what this one has said may take traffic."""

    def read(self, line: str) -> None:
        finding, first = self._look(line)
        if finding is None:
            return
        if first:
            self._tag(f"{TAG}{finding.severity} {finding.rule}: {finding.meaning}. Next: {finding.action}")
        if finding.rule in self._stopping and self.refusal is None:
            self.refusal = f"{finding.meaning} ({line.strip()[:120]}). Next: {finding.action}"

    def count(self, line: str) -> None:
        self._look(line)

    def _look(self, line: str) -> tuple[Finding | None, bool]:
        """What the line means, and whether it is the first of its kind."""
        if _ROUTINE.search(line):
            return None, False
        finding = classify(line, engine=self._engine)
        if finding:
            return finding, self._add(finding.rule, finding.severity)
        if level := warns(line):
            self._add(UNKNOWN, level)
        return None, False

    def unknown(self) -> int:
        """How many lines so far warned of something that no rule knows."""
        return sum(count for (rule, _), count in self.counts().items() if rule == UNKNOWN)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many lines so far by (rule, severity); lines that no rule knows under `unknown`, warning or error."""
        with self._lock:
            return dict(self._counts)

    def _add(self, rule: str, severity: str) -> bool:
        with self._lock:
            self._counts[rule, severity] += 1
            return self._counts[rule, severity] == 1
