"""Unix sockets at paths of any length, and forwarding between listening sockets and TCP ports."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

_BLOCK = 256 * 1024


def bind_unix(path: Path) -> socket.socket:
    """A bound stream socket at `path`, whose parent exists. The kernel's limit of 107 bytes doesn't apply: it is named
    relative to its folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            bound.close()
            raise
    finally:
        os.close(folder)
    bound.setblocking(False)
    return bound


async def forward(listener: socket.socket, port: int) -> asyncio.Server:
    """Passes every connection to `listener` on to 127.0.0.1:port of the host, until the server is closed."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=_BLOCK)
        except OSError:
            writer.transport.abort()  # inside, it looks like what it is: nobody is there
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()

    return await asyncio.start_server(connected, sock=listener, limit=_BLOCK)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the reader's side has ended; then the writer's side is told so. A broken connection breaks the other."""
    try:
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()
