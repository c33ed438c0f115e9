"""Is the kernel artifact complete? A start with it, asked prompts of all sizes, that compiles nothing is the proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from serving.progress import Report

_STARTS = 3
"""The first fills the caches. The second is the proof; one that still compiled something has filled them further, so
there is one more proof."""
_SLOWER = 1.2
"""How much longer than the start before it a start may take, for the question whether there is time for it."""

Start = Callable[[bool, float], list[str]]
"""`start(proven, seconds)` → the engine's lines that tell of compiling something."""


def fill_and_prove(
    start: Start,
    contents: Callable[[], Mapping[str, str]],
    *,
    seconds: float,
    usd_per_second: float,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Two or three starts. Returns what the last one still compiled (or why there was none); nothing is the proof.

    `contents` gives a digest by path of all kernel files, `seconds` is what is left for everything. Raises what
    `start` raises.
    """
    end = clock() + seconds
    report("kernels: first start with the serving flags, for the caches that the compile tool does not fill")
    began = clock()
    start(False, end - began)
    took = clock() - began
    uncovered: list[str] = []
    for number in range(2, _STARTS + 1):
        if end - clock() < _SLOWER * took:
            return [*uncovered, f"kernels.timeout leaves no time for start {number}"]
        report(
            f"kernels: start {number} of at most {_STARTS}, to prove that nothing is left to compile: at most "
            f"{took:.0f} s, ${usd_per_second * took:.2f}"
        )
        before = dict(contents())
        began = clock()
        lines = start(True, end - began)
        took = clock() - began
        uncovered = [*changes(before, contents()), *dict.fromkeys(lines)]
        if not uncovered:
            report(f"kernels: start {number} compiled nothing")
            return []
        report(f"kernels: start {number} still compiled {len(uncovered)}: {uncovered[0]}")
    return uncovered


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Paths that were added or got another content. A file that went away is compiled again by whoever needs it."""
    return sorted(path for path, digest in after.items() if before.get(path) != digest)
