"""One request to a server in a container, over a connection of its own.

What comes of the answer's body is written to the client's connection by the callback that read it, and as it came: a
task that wakes up for it, and chunks that are taken apart and put together again, cost more than all the rest. Of a
stream of tiny pieces one after the other, those of a millisecond are read together.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser, RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from local.modal_cloud.ingress import headers
from local.modal_cloud.ingress.framing import BrokenAnswer, Chunked, Counted, Framing, UntilClosed

_LONGEST_LINE = 64 * 1024
_LARGEST_HEAD = 256 * 1024
_MOST_WAITING = 64 * 1024
"""Bytes that a slow client may leave unread here; from then on the server has to wait."""
_SMALL_PIECE = 4 * 1024
_CLOSE_TOGETHER = 0.5e-3
_GATHERING = 1e-3
"""Seconds for which nothing is read after a small piece that came so soon after another one. What comes more slowly
than that, such as the tokens of a model, never waits."""
_HEAD_END = re.compile(rb"\n\r?\n")


class Upstream(asyncio.Protocol):
    """The connection isn't kept: a server may close one at any time, and then a request on it fails for no reason."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._connection: socket.socket
        """The same one, for what the transport leaves unread when it fails to write."""
        self._received = b""
        self._framing: Framing = UntilClosed(in_chunks=False)
        self._client: asyncio.Transport | None = None
        """Gets the body; what comes before that is kept in `_received`."""
        self._last_read = 0.0
        self._client_is_slow = False
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()
        """Part of a head came, or the body is over, or has to wait, or will never be over."""
        self._may_send = asyncio.Event()
        self._may_send.set()

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, connection: socket.socket) -> AsyncIterator[Upstream]:
        transport, upstream = await asyncio.get_running_loop().create_connection(cls, sock=connection)
        try:
            with connection.dup() as upstream._connection:
                yield upstream
        finally:
            # Not `close`, which would first send what a server may never read.
            transport.abort()

    async def send(self, request: web.BaseRequest) -> None:
        """The request, and its body as the client sends it, as far as the server wants it: it may have answered."""
        passed = headers.passed_on(request.raw_headers)
        names = {name.lower() for name, _ in passed}
        passed += [(b"X-Forwarded-For", (request.remote or "127.0.0.1").encode()), (b"Connection", b"close")]
        if b"host" not in names:
            passed.append((b"Host", b"container"))
        in_chunks = request.body_exists and b"content-length" not in names
        if in_chunks:
            passed.append((b"Transfer-Encoding", b"chunked"))
        line = f"{request.method} {request.raw_path} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        self._transport.write(line + b"".join(b"%b: %b\r\n" % header for header in passed) + b"\r\n")
        if not request.body_exists:
            return
        await headers.invite_body(request)
        try:
            async for block in request.content.iter_any():
                await self._may_send.wait()
                if self._transport.is_closing():
                    return
                self._transport.write(b"%x\r\n%b\r\n" % (len(block), block) if in_chunks else block)
        except (web.RequestPayloadError, ConnectionError):
            self._transport.abort()  # half a request must not look like a whole one
            return
        if in_chunks:
            self._transport.write(b"0\r\n\r\n")

    async def head(self, request: web.BaseRequest) -> RawResponseMessage:
        """Status and headers of the answer. Raises BrokenAnswer, OSError."""
        while (answer := _parsed(await self._next_head())).code < 200:
            if answer.code == 101:
                raise BrokenAnswer("it switched protocols unasked")
        length = answer.headers.get("Content-Length")
        if request.method == "HEAD" or answer.code in (204, 304):
            self._framing = Counted(0)
        elif answer.chunked:
            self._framing = Chunked(unpacked=request.version < HttpVersion11)
        elif length is not None:
            self._framing = Counted(int(length))
        else:
            self._framing = UntilClosed(in_chunks=request.version >= HttpVersion11)
        return answer

    async def pass_body(self, writer: StreamWriter) -> None:
        """All of it, to a client that has got the head. Raises BrokenAnswer, OSError."""
        assert writer.transport is not None
        self._client = writer.transport
        self._transport.resume_reading()
        if self._received:
            self._pass(self._received)
            self._received = b""
        while not self._framing.over:
            if self._error is not None:
                raise self._error
            if self._ended:
                self._framing.connection_ended()
            elif self._client_is_slow:
                await writer.drain()
                self._client_is_slow = False
                self._read_on()
            else:
                await self._something_happened()

    def _pass(self, block: bytes) -> None:
        assert self._client is not None
        if self._framing.over:
            return
        try:
            self._client.write(self._framing.take(block))
        except BrokenAnswer as error:
            self._error = error
            self._transport.abort()
            return
        now = self._loop.time()
        if self._client.get_write_buffer_size() > _MOST_WAITING:
            self._client_is_slow = True
            self._transport.pause_reading()
        elif len(block) < _SMALL_PIECE and now - self._last_read < _CLOSE_TOGETHER:
            self._transport.pause_reading()
            self._loop.call_later(_GATHERING, self._read_on)
        self._last_read = now
        if self._framing.over or self._client_is_slow:
            self._news.set()

    def _read_on(self) -> None:
        if not self._client_is_slow:
            self._transport.resume_reading()

    async def _next_head(self) -> bytes:
        while (end := _HEAD_END.search(self._received)) is None:
            if len(self._received) >= _LARGEST_HEAD:
                raise BrokenAnswer("the head of its answer has no end")
            if self._ended:
                raise self._error or BrokenAnswer("it closed the connection")
            await self._something_happened()
        head, self._received = self._received[: end.end()], self._received[end.end() :]
        return head

    async def _something_happened(self) -> None:
        await self._news.wait()
        self._news.clear()

    # -- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, block: bytes) -> None:
        if self._client is not None:
            self._pass(block)
            return
        self._received += block
        if len(self._received) >= _LARGEST_HEAD:
            self._transport.pause_reading()
        self._news.set()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            # A server that has answered and closed makes the next write fail: its answer may still be there.
            with contextlib.suppress(OSError):
                while block := self._connection.recv(_LARGEST_HEAD):
                    self.data_received(block)
        self._ended = True
        self._error = self._error or error
        self._may_send.set()
        self._news.set()

    def pause_writing(self) -> None:
        self._may_send.clear()

    def resume_writing(self) -> None:
        self._may_send.set()


def _parsed(head: bytes) -> RawResponseMessage:
    loop = asyncio.get_running_loop()
    parser = HttpResponseParser(
        BaseProtocol(loop),
        loop,
        _LARGEST_HEAD,
        response_with_body=False,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    try:
        messages, _, _ = parser.feed_data(head)
    except HttpProcessingError as error:
        raise BrokenAnswer(f"what came is no HTTP: {error.message}") from error
    if not messages:
        raise BrokenAnswer("what came is no HTTP")
    message: RawResponseMessage = messages[0][0]
    return message
