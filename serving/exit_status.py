"""What an engine's exit status says about why it ended."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

_ENDED_ITSELF = re.compile(r"kill_process_tree called|It usually means (?:one|the) child failed")
_CHILD_CRASHED = re.compile(r"Subprocess (\S+) \(pid=\d+\) crashed with exit code (-?\d+)")

CLEAN_AFTER_SIGTERM = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGKILL})
"""Statuses of a stop that we asked for: SGLang answers SIGTERM by draining and then killing its own process tree."""


def explain(code: int, last_lines: Iterable[str] = ()) -> str:
    """Why a process with this status (as `subprocess` gives it: negative = signal) ended, in a few words.

    SIGKILL has three authors: the kernel's OOM killer, the platform, and the engine itself, which ends its own
    process tree once a worker has failed. Only the last one leaves a trace in the log (`last_lines`).
    """
    ended_itself, worker = False, None
    for line in last_lines:
        if match := _CHILD_CRASHED.search(line):
            worker = (match.group(1), int(match.group(2)))
        ended_itself = ended_itself or bool(_ENDED_ITSELF.search(line))
    killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    if worker:
        name, status = worker
        reason = " (SIGKILL, usually the OOM killer: lower mem-fraction-static)" if status in (-9, 137) else ""
        return f"its process {name} died with code {status}{reason}"
    if killed and ended_itself:
        return "it ended its own process tree after a worker process failed"
    if code == -signal.SIGKILL:
        return "SIGKILL, usually the OOM killer: lower mem-fraction-static (0.88 to 0.85)"
    if code == 128 + signal.SIGKILL:
        return "SIGKILL from the platform: review Modal's timeouts, manual stops and scale-down"
    number = -code if code < 0 else code - 128
    if code < 0 or 128 < code < 160:
        try:
            return f"ended by {signal.Signals(number).name}"
        except ValueError:
            return f"ended by signal {number}"
    if code == 0:
        return "it ended by itself without an error"
    return "it refused its arguments" if code == 2 else "it failed"
