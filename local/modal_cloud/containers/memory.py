"""What the processes of containers have in memory, and which containers have more than they may.

Read from /proc and not left to cgroups: a memory cgroup can be made by root or below one that was delegated, a process
tree can be read by whoever runs it, as root or not. The price: a container is noticed up to `INTERVAL` late.

Counted is what the kernel could not drop: anonymous and shared memory. Pages of mapped files (weights, say) are
none of it, as in a cgroup, where they go before anything is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

INTERVAL = 0.25
"""Seconds between two looks. One costs some 25 µs of CPU for each process on the machine."""
_GONE = (FileNotFoundError, ProcessLookupError)


def beyond(limits: Mapping[int, int]) -> dict[int, int]:
    """Of process 1 of each container and the bytes that all below it may have in memory: those that have more, and how
    many bytes. Blocking: run it in a thread.

    Processes that share pages (after a fork) have them once.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        children.setdefault(parent, []).append(pid)
    found = {}
    for first, limit in limits.items():
        tree = list(_below(first, children))
        # The kernel keeps the first numbers; for the second ones it walks through all pages.
        if sum(_kilobytes(pid, "status", "RssAnon:", "RssShmem:") for pid in tree) * 1024 > limit:
            used = sum(_kilobytes(pid, "smaps_rollup", "Pss_Anon:", "Pss_Shmem:") for pid in tree) * 1024
            if used > limit:
                found[first] = used
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """All of the machine, each with its parent."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # proc_pid_stat(5): the command, which may have spaces and parentheses, ends with the last ")".
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
        except _GONE:
            continue
        yield int(name), int(fields[1])


def _below(pid: int, children: Mapping[int, Iterable[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield child
        yield from _below(child, children)


def _kilobytes(pid: int, file: str, *names: str) -> int:
    """The sum of these lines; 0 for a process that has ended, or that its owner may not look into (one that has taken
    other rights)."""
    try:
        lines = Path("/proc", str(pid), file).read_text(encoding="ascii", errors="replace").splitlines()
    except (*_GONE, PermissionError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(names))
