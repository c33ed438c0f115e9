"""Time as the cloud sees it: Unix seconds that never repeat, so that lists can be paged by time of creation."""

from __future__ import annotations

import time

_last = 0.0


def now() -> float:
    global _last
    _last = max(time.time(), _last + 1e-6)
    return _last
