"""Short progress lines of long jobs: few enough to read, the same for the log and for whoever waits elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one progress line; must not raise."""


def size_text(count: float, unit_of: float | None = None, *, unit: bool = True) -> str:
    """`203 GB`, `1.2 GB`, `16 MB` (powers of ten); the unit fits `unit_of` bytes where that is given."""
    scale, name = next(
        (pair for pair in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if (unit_of or count) >= pair[0]), (1.0, "B")
    )
    value = count / scale
    number = f"{value:.0f}" if value >= 9.95 or scale == 1.0 or count == 0 else f"{value:.1f}"
    return f"{number} {name}" if unit else number


def time_left(seconds: float) -> str:
    return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{max(1, round(seconds))} s left"


class TransferRate:
    """Bytes a second over the last half minute or so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: float = 30.0) -> None:
        self._clock = clock
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, total_bytes: int) -> float:
        """Tells how many bytes there are by now; returns the rate, 0 while unknown."""
        now = self._clock()
        self._samples.append((now, total_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > self._window:
            self._samples.popleft()
        then, before = self._samples[0]
        return max(0.0, (total_bytes - before) / (now - then)) if now > then else 0.0


def transfer_line(what: str, done: int, of: int, done_bytes: int, of_bytes: int, rate: float) -> str:
    """`weights: 41/142 files · 203/704 GB · 1.2 GB/s · 7 min left`; rate and time only once known."""
    parts = [
        f"{what}: {done}/{of} files",
        f"{size_text(done_bytes, of_bytes, unit=False)}/{size_text(of_bytes)}",
    ]
    if rate > 0 and done_bytes < of_bytes:
        parts += [f"{size_text(rate)}/s", time_left((of_bytes - done_bytes) / rate)]
    return " · ".join(parts)
