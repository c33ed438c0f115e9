"""Time as the cloud sees it: Unix seconds that never repeat, so that lists can be paged by time of creation.

It runs as fast as the machine's, possibly ahead of it: `schedules.clock` moves it on, and remembers by how much.
"""

from __future__ import annotations

import time

_last = 0.0
_ahead = 0.0


def now() -> float:
    global _last
    _last = max(time.time() + _ahead, _last + 1e-6)
    return _last


def ahead() -> float:
    """Seconds that the cloud is ahead of the machine."""
    return _ahead


def move(seconds: float) -> None:
    """So many seconds pass at once; never back."""
    global _ahead
    _ahead += max(0.0, seconds)
