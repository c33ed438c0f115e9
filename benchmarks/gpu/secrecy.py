"""Looks for the API key where it must not be: processes' arguments while they run, and everything written."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from benchmarks.gpu.bench import Bench

_SECONDS_BETWEEN_LOOKS = 0.2


class ArgumentsWatch:
    """Looks through the arguments of every process of the machine until the `with` block ends."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks = 0
        self.found: list[str] = []

    def __enter__(self) -> ArgumentsWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS_BETWEEN_LOOKS):
            self.looks += 1
            for entry in os.listdir("/proc"):
                if entry.isdigit():
                    with contextlib.suppress(OSError):
                        if self._key in Path(f"/proc/{entry}/cmdline").read_bytes():
                            self.found.append(Path(f"/proc/{entry}/comm").read_text().strip())

    def result(self) -> dict[str, object]:
        return {"looks": self.looks, "processes_with_the_key": sorted(set(self.found))}


def engine_environments_with(key: str, pids: list[int]) -> list[str]:
    """Names of those processes whose environment has the key."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if key.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def files_with_the_key(bench: Bench) -> tuple[int, list[str]]:
    """How many files the benchmark and its servers wrote were searched, and which of them have the key."""
    searched, found = 0, []
    spellings = {bench.api_key.encode(), repr(bench.api_key)[1:-1].encode()}
    for folder in (bench.logs, bench.results):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                searched += 1
                content = path.read_bytes()
                if any(spelling in content for spelling in spellings):
                    found.append(path.name)
    return searched, found
