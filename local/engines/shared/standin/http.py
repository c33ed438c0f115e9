"""HTTP/1.1 for an ASGI application, on asyncio alone: importing a framework would double the start.

What an application may send, and what happens when it does not keep to that, is as uvicorn has it.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from standin.application import Asgi, Message
from standin.exchange import Access, Exchange, Listener

__all__ = ["Access", "Listener", "Server", "serve", "startup"]

_STREAM_LIMIT = 1 << 17


async def startup(app: Asgi, listener: Listener) -> asyncio.Task[None]:
    """Runs the application's start-up; what it returns is to be kept until the end."""
    started = asyncio.Event()
    asked: asyncio.Queue[Message] = asyncio.Queue()
    asked.put_nowait({"type": "lifespan.startup"})

    async def send(message: Message) -> None:
        if message["type"] in ("lifespan.startup.complete", "lifespan.startup.failed"):
            started.set()

    async def run() -> None:
        try:
            await app({"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}, asked.get, send)
        except Exception:  # uvicorn, too, serves on without it
            listener.error("ASGI 'lifespan' protocol appears unsupported.", "")
        finally:
            started.set()

    task = asyncio.create_task(run())
    await started.wait()
    return task


@dataclass(frozen=True)
class Server:
    """`connections` are the tasks of those that are open."""

    socket: asyncio.Server
    connections: set[asyncio.Task[None]]
    busy: set[asyncio.Task[None]]

    async def close(self, seconds: float | None = None) -> None:
        """Takes no more requests, and waits for the answers under way, `seconds` at most."""
        self.socket.close()
        for task in self.connections - self.busy:
            task.cancel()
        if self.busy:
            await asyncio.wait(set(self.busy), timeout=seconds)


async def serve(app: Asgi, at: tuple[str, int] | socket.socket, listener: Listener) -> Server:
    """Starts serving at an address or at a socket that is bound to one. Raises OSError where the address is taken."""
    connections: set[asyncio.Task[None]] = set()
    busy: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def connection() -> _Protocol:
        reader = asyncio.StreamReader(limit=_STREAM_LIMIT, loop=loop)
        left = asyncio.Event()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            task.add_done_callback(connections.discard)
            task.add_done_callback(busy.discard)
            try:
                while await Exchange(reader, writer, left, listener).run(app, lambda: busy.add(task)):
                    busy.discard(task)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return  # the client went away, or sent what is no HTTP: there is nobody to answer
            finally:
                writer.close()

        return _Protocol(reader, converse, loop, left)

    if isinstance(at, socket.socket):
        return Server(await loop.create_server(connection, sock=at, backlog=2048), connections, busy)
    return Server(await loop.create_server(connection, *at, backlog=2048), connections, busy)


class _Protocol(asyncio.StreamReaderProtocol):
    """Tells at once when the client leaves, also while nobody reads."""

    def __init__(
        self, reader: asyncio.StreamReader, converse: Any, loop: asyncio.AbstractEventLoop, left: asyncio.Event
    ) -> None:
        super().__init__(reader, converse, loop=loop)
        self._left = left

    def eof_received(self) -> bool:
        super().eof_received()
        self._left.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._left.set()
        super().connection_lost(exc)
