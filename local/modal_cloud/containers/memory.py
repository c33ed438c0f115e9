"""What the processes of containers have in memory, and which containers have more than they may.

Read from /proc and not left to cgroups: a memory cgroup can be made by root or below one that was delegated, a process
tree can be read by whoever runs it, as root or not. The price: a container is noticed up to `INTERVAL` late.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.25
"""Seconds between two looks. One costs some 2 ms of CPU with a hundred processes on the machine."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    resident: int
    """Bytes, pages shared with other processes included."""


def beyond(limits: Mapping[int, int]) -> dict[int, int]:
    """Of process 1 of each container and the bytes that all below it may have in memory: those that have more, and how
    many bytes. Blocking: run it in a thread.

    Processes that share pages (after a fork) have them once.
    """
    children: dict[int, list[_Process]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    found = {}
    for first, limit in limits.items():
        tree = list(_below(first, children))
        if sum(process.resident for process in tree) > limit:
            used = sum(_share(process) for process in tree)
            if used > limit:
                found[first] = used
    return found


def _processes() -> Iterable[_Process]:
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # proc_pid_stat(5): the command, which may have spaces and parentheses, ends with the last ")".
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
        except _GONE:
            continue
        yield _Process(int(name), int(fields[1]), int(fields[21]) * _PAGE)


def _below(pid: int, children: Mapping[int, list[_Process]]) -> Iterable[_Process]:
    for process in children.get(pid, ()):
        yield process
        yield from _below(process.pid, children)


def _share(process: _Process) -> int:
    """Bytes, each shared page divided by the number of processes that have it. (Takes longer than the sum of all: it is
    only asked for where that is beyond the limit.)"""
    try:
        lines = Path("/proc", str(process.pid), "smaps_rollup").read_text(encoding="ascii").splitlines()
    except _GONE:
        return 0
    except PermissionError:  # a program that others may not look into, such as one with more rights than ours
        return process.resident
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
