"""Who asked for what: requests and body bytes per file, and a throttle on file bodies."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class FileTraffic:
    requests: int = 0
    """GETs that reached the file's content (a redirect or a HEAD is not one)."""
    heads: int = 0
    bytes: int = 0
    """Body bytes handed to the network."""
    completed: int = 0
    """Bodies sent to their end."""
    ranges: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


class Traffic:
    """Per file: keys are `<repo>/<path>`. Per API call: counts by path."""

    def __init__(self) -> None:
        self.files: dict[str, FileTraffic] = defaultdict(FileTraffic)
        self.api: dict[str, int] = defaultdict(int)
        self._rate: float | None = None
        self._free_at = 0.0

    def throttle(self, bytes_per_second: float | None) -> None:
        """One rate shared by all downloads; None lifts it."""
        self._rate = bytes_per_second
        self._free_at = 0.0

    @property
    def chunk(self) -> int:
        """Bytes to send at once: small enough that a throttled stream keeps moving."""
        return 1 << 20 if self._rate is None else max(1024, min(1 << 20, int(self._rate / 20)))

    async def pace(self, size: int) -> None:
        """Waits until `size` more bytes may go out."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        await asyncio.sleep(self._free_at - now)

    def clear(self) -> None:
        self.files.clear()
        self.api.clear()

    def to_json(self) -> dict[str, Any]:
        return {
            "files": {name: asdict(file) for name, file in self.files.items()},
            "api": dict(self.api),
            "bytes": sum(file.bytes for file in self.files.values()),
        }
