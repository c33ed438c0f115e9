"""Child processes that have died unnoticed by their parent, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def dead_children(parent: int) -> set[int]:
    """Pids of `parent`'s direct children that ended and were not waited for (zombies)."""
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # gone between listing and reading
        if fields and fields[0] == "Z" and int(fields[1]) == parent:
            found.add(int(entry))
    return found


class DeathWatch:
    """Notices that a child of `parent` stays dead for `patience` seconds: the parent is not going to ask.

    Short-lived helpers are waited for within milliseconds and don't count.
    """

    def __init__(self, parent: int, patience: float = 3.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._parent = parent
        self._patience = patience
        self._clock = clock
        self._since: dict[int, float] = {}

    def dead_child(self) -> int | None:
        """Pid of such a child, else None. Ask about once a second."""
        now = self._clock()
        self._since = {pid: self._since.get(pid, now) for pid in dead_children(self._parent)}
        return next((pid for pid, since in self._since.items() if now - since >= self._patience), None)
