"""Where the time of a start goes: one phase after the other, told apart by what the engine says."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence

VOLUMES = "volumes"
LOAD = "load"
GRAPHS = "graphs"
WARM_UP = "warm-up"

PhaseLines = Sequence[tuple[str, re.Pattern[str]]]


class StartPhases:
    """The clock runs from construction, in `load`; `volumes` is what had passed before, in seconds.

    `lines` says which phase begins with which line of the engine, in the order in which they come. A phase whose line
    never came took no time of its own: it counts with the one before.
    """

    def __init__(self, lines: PhaseLines, volumes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pending = list(lines)
        self._clock = clock
        self._lock = threading.Lock()
        self._phase, self._since = LOAD, clock()
        self._seconds = {VOLUMES: volumes, LOAD: 0.0, **{name: 0.0 for name, _ in lines}}

    def read(self, line: str) -> None:
        """Of the engine, from the thread that reads its output."""
        self._enter_first(lambda _, pattern: bool(pattern.search(line)))

    def begin(self, name: str) -> None:
        """`name` has begun by now, whatever the engine has said or not."""
        self._enter_first(lambda pending, _: pending == name)

    def end(self) -> dict[str, float]:
        """Seconds by phase, all of the start."""
        with self._lock:
            self._pending.clear()
            self._enter(self._phase)
            return dict(self._seconds)

    def _enter_first(self, fits: Callable[[str, re.Pattern[str]], bool]) -> None:
        """Enters the first pending phase that fits; those before it will not come any more."""
        with self._lock:
            for number, (name, pattern) in enumerate(self._pending):
                if fits(name, pattern):
                    self._enter(name)
                    del self._pending[: number + 1]
                    return

    def _enter(self, name: str) -> None:
        now = self._clock()
        self._seconds[self._phase] += now - self._since
        self._phase, self._since = name, now


def ready_line(phases: dict[str, float]) -> str:
    """`ready in 412 s: volumes 1 · load 71 · graphs 180 · warm-up 160`; tenths where all of it is short."""
    total = sum(phases.values())
    digits = 0 if total >= 60 else 1
    parts = " · ".join(f"{name} {seconds:.{digits}f}" for name, seconds in phases.items())
    return f"ready in {total:.{digits}f} s: {parts}"
