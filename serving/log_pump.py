"""Forwards an engine's output line by line: redacted, progress bars thinned out, the last lines kept."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from serving.redaction import Redactor

LineSink = Callable[[str], None]

_PROGRESS_BAR = re.compile(r"^(?P<label>[^|]*?):?\s*(?P<percent>\d+)%\|")
_SECONDS_BETWEEN_BARS = 10.0
_KEPT_LINES = 200


def print_line(line: str) -> None:
    """Writes one line to the container's log at once, in one piece even when several threads write."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class LogPump:
    """Give it an engine's output stream; it returns when the stream ends.

    `out` gets every line worth reading, `watch` every line, progress bars included, after `out` (both redacted).
    """

    def __init__(self, redact: Redactor, out: LineSink = print_line, watch: LineSink | None = None) -> None:
        self._redact = redact
        self._out = out
        self._watch = watch
        self._bars: dict[str, float] = {}
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def run(self, stream: Iterable[str]) -> None:
        for raw in stream:
            line = self._redact(raw.rstrip("\r\n"))
            if not line.strip():
                continue
            if not self._is_repeated_bar(line):
                self.last_lines.append(line)
                self._out(line)
            if self._watch:
                self._watch(line)

    def _is_repeated_bar(self, line: str) -> bool:
        """A tqdm bar is redrawn thousands of times: one line every few seconds, and its end, are enough."""
        match = _PROGRESS_BAR.match(line) if "%|" in line else None
        if not match:
            return False
        # "Capturing batches (bs=48 avail_mem=…)" and "(bs=40 …)" are one bar.
        label = match["label"].split("(")[0].strip()
        now = time.monotonic()
        due = now - self._bars.get(label, -_SECONDS_BETWEEN_BARS) >= _SECONDS_BETWEEN_BARS
        if due or match["percent"] == "100":
            self._bars[label] = now
            return False
        return True
