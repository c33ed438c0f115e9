"""Is the kernel artifact complete? A start with it, asked prompts of all sizes, that compiles nothing is the proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from serving.errors import ServingError
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
    `start` raises, and ServingError where nothing is left.
    """
    if seconds <= 0:
        raise ServingError(
            "kernels: the compile tool took all of kernels.timeout, so none is left for the starts that fill the other "
            "caches. Next: raise kernels.timeout in the recipe, then pulumi up (kernels compiled so far are kept)"
        )
    began = clock()
    end = began + seconds
    report("kernels: first start with the serving flags, for the caches that the compile tool does not fill")
    start(False, seconds)
    took = clock() - began
    return _prove(start, contents, range(2, _STARTS + 1), took, end, usd_per_second, report, clock)


def prove_again(
    start: Start,
    contents: Callable[[], Mapping[str, str]],
    *,
    seconds: float,
    usd_per_second: float,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """The proof starts alone, for caches that have been filled before; the rest as for `fill_and_prove`."""
    return _prove(start, contents, range(1, _STARTS), None, clock() + seconds, usd_per_second, report, clock)


def _prove(
    start: Start,
    contents: Callable[[], Mapping[str, str]],
    numbers: range,
    took: float | None,
    end: float,
    usd_per_second: float,
    report: Report,
    clock: Callable[[], float],
) -> list[str]:
    """`took` is how long the start before these took, in seconds; None where there was none."""
    uncovered: list[str] = []
    for number in numbers:
        left = end - clock()
        if left <= 0 or (took is not None and left < _SLOWER * took):
            return [*uncovered, f"kernels.timeout leaves no time for start {number}"]
        most = left if took is None else took
        report(
            f"kernels: start {number} of at most {numbers[-1]}, to prove that nothing is left to compile: at most "
            f"{most:.0f} s, ${usd_per_second * most:.2f}"
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


def reasons(uncovered: Sequence[str], other_caches: Collection[str]) -> list[str]:
    """Which of these, from `fill_and_prove` or `prove_again`, are reasons to keep the engine's pass over GEMM shapes.

    `other_caches` are folders that the pass puts nothing into. A variant of a Triton kernel that the last start still
    compiled, and kept, is no reason: which variants a start needs is chance (on an H200 four starts in a row compiled
    1,077, 32, 128 and 0 files beside GEMM kernels that were all there; docs/gpu.md), and the pass does not compile
    them. Anything else is one: a GEMM kernel, a compiler's line, a start that failed or was not made.
    """
    return [entry for entry in uncovered if "/" not in entry or entry.partition("/")[0] not in other_caches]


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Paths that were added or got another content. A file that went away is compiled again by whoever needs it."""
    return sorted(path for path, digest in after.items() if before.get(path) != digest)
