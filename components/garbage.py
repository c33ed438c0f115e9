"""Python's garbage collection in a process that loads Modal's SDK."""

from __future__ import annotations

import atexit
import gc


def collect_rarely() -> None:
    """The SDK is loaded once and kept. Looking through it for garbage while it loads, and once more at the exit, takes
    0.5 s, as long as loading it does."""
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
