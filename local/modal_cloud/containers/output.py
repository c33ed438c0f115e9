"""A container's output, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LONGEST_LINE = 64 * 1024


class LinePump(asyncio.Protocol):
    """Hands over complete lines with their ends. A line that grows beyond 64 KiB, and one that never ends (a progress
    bar drawn with carriage returns, a prompt), is handed over in pieces."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        complete, separator, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if separator:
            for line in complete.split(b"\n"):
                self._take(line.decode(errors="replace") + "\n")
        if len(self._rest) > _LONGEST_LINE:
            self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._flush()
        if not self.ended.done():
            self.ended.set_result(None)

    def _flush(self) -> None:
        if self._rest:
            self._take(self._rest.decode(errors="replace"))
            self._rest = b""
