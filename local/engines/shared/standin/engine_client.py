"""The server's side of the scheduler: sends requests over the channel and hands each its tokens as they come."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any


class EngineClient:
    """`stats` is the scheduler's last word on itself; `on_stats` is called with each new one."""

    def __init__(self, connection: socket.socket, on_stats: Callable[[dict[str, float], int], None]) -> None:
        self._connection = connection
        self._on_stats = on_stats
        self._queues: dict[str, asyncio.Queue[int | Exception]] = {}
        self._ids = itertools.count()
        self._writer: asyncio.StreamWriter | None = None
        self.last_heard = 0.0
        self.stats: dict[str, float] = {}
        self.lost = asyncio.Event()
        """Set when the scheduler's process is gone."""

    async def connect(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._connection, limit=1 << 20)
        self._task = asyncio.create_task(self._read(reader))

    @property
    def active(self) -> list[str]:
        """Ids of the requests that have not ended."""
        return list(self._queues)

    async def generate(self, request_id: str, prompt: int, new: int, external: bool) -> AsyncGenerator[int, None]:
        """Yields how many tokens each step brought, `new` in all; leaving early aborts the request. Raises what `fail`
        is given."""
        queue: asyncio.Queue[int | Exception] = asyncio.Queue()
        key = f"{request_id}-{next(self._ids)}"
        self._queues[key] = queue
        self._send({"t": "req", "id": key, "prompt": prompt, "new": new, "external": external})
        done = 0
        try:
            while done < new:
                tokens = await queue.get()
                if isinstance(tokens, Exception):
                    raise tokens
                done += tokens
                yield tokens
        finally:
            self._queues.pop(key, None)
            if done < new:
                self._send({"t": "abort", "id": key})

    def fail(self, error: Exception) -> None:
        """Ends all requests that are under way with the error."""
        for queue in self._queues.values():
            queue.put_nowait(error)

    async def answers(self, seconds: float) -> bool:
        """Whether the scheduler says anything within `seconds`."""
        asked = time.monotonic()
        self._send({"t": "probe", "id": next(self._ids)})
        while time.monotonic() < asked + seconds:
            if self.last_heard >= asked:
                return True
            await asyncio.sleep(0.005)
        return False

    def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await _line(reader):
            message = json.loads(line)
            self.last_heard = time.monotonic()
            self.stats = message["s"]
            tokens = 0
            for key, count in message.get("o", ()):
                tokens += count
                if key in self._queues:
                    self._queues[key].put_nowait(count)
            self._on_stats(message["s"], tokens)
        self.lost.set()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:  # killed, with something still unsent to it
        return b""
