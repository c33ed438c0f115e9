"""One HTTP/1.1 request and its answer, as an ASGI application sees and gives them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from standin.application import Asgi, Message, Scope

_MAX_BODY = 256 << 20
_PIECE = 1 << 16


@dataclass(frozen=True)
class Access:
    """What the access log tells of a request when its answer begins."""

    client: str
    method: str
    target: str
    """Path and query."""
    status: int

    @property
    def line(self) -> str:
        """As uvicorn logs it, behind the level."""
        reason = _phrase(self.status)
        return f'{self.client} - "{self.method} {self.target} HTTP/1.1" {self.status} {reason}'.rstrip()


@dataclass(frozen=True)
class Listener:
    """Called by the server: `access` for each answer, `error` with a message and a traceback or nothing."""

    access: Callable[[Access], None]
    error: Callable[[str, str], None]


class Exchange:
    """One request and its answer."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: asyncio.Event, listener: Listener
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._left = left
        self._listener = listener
        self._complete = asyncio.Event()
        self._started = False
        self._chunked = False
        self._expected = 0
        self._method = self._target = ""
        self._close = False

    async def run(self, app: Asgi, begins: Callable[[], None]) -> bool:
        """Whether the connection stays open; `begins` is called when a request is there."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        begins()
        first, *lines = head.decode("latin-1").split("\r\n")
        try:
            self._method, self._target, version = first.split(" ")
        except ValueError:
            await self._answer(400, b"Invalid HTTP request received.")
            return False
        pairs = [(n.strip().lower(), v.strip()) for n, found, v in (line.partition(":") for line in lines) if found]
        headers = dict(pairs)
        self._close = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        self._unasked = headers.get("expect", "").lower() == "100-continue"
        self._body = self._read_body(headers)
        await self._call(app, self._scope(pairs))
        if self._left.is_set() or not self._complete.is_set():
            return False
        if self._unasked:  # the client holds its body back, and may send it or not
            return False
        async for _ in self._body:  # what the application did not care to read
            pass
        return not self._close

    def _scope(self, headers: list[tuple[str, str]]) -> Scope:
        url = urlsplit(self._target)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self._method,
            "scheme": "http",
            "path": unquote(url.path),
            "raw_path": url.path.encode("latin-1"),
            "query_string": url.query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": self._writer.get_extra_info("peername"),
            "server": self._writer.get_extra_info("sockname"),
            "state": {},
        }

    async def _call(self, app: Asgi, scope: Scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception:
            self._listener.error("Exception in ASGI application", traceback.format_exc())
            self._close = True
            if not self._started:
                await self._answer(500, b"Internal Server Error")
            return
        if self._left.is_set() or self._complete.is_set():
            return
        if self._started:
            self._listener.error("ASGI callable returned without completing response.", "")
        else:
            self._listener.error("ASGI callable returned without starting response.", "")
            await self._answer(500, b"Internal Server Error")

    async def _receive(self) -> Message:
        if not self._left.is_set() and not self._complete.is_set():
            async for piece, more in self._body:
                return {"type": "http.request", "body": piece, "more_body": more}
        waits = [asyncio.ensure_future(event.wait()) for event in (self._left, self._complete)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if not self._started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message["status"], list(message.get("headers", [])))
        elif self._complete.is_set():
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent, after response already completed.")
        elif kind != "http.response.body":
            raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
        else:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        try:
            await self._writer.drain()
        except ConnectionError:
            self._left.set()

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._started = True
        names = {name.lower(): value for name, value in headers}
        bodiless = self._method == "HEAD" or status in (204, 304)
        self._chunked = b"content-length" not in names and not bodiless
        self._expected = 0 if bodiless else int(names.get(b"content-length", b"0"))
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"date: {formatdate(usegmt=True)}", "server: uvicorn"]
        lines += [f"{name.decode('latin-1').lower()}: {value.decode('latin-1')}" for name, value in headers]
        if self._chunked:
            lines.append("transfer-encoding: chunked")
        self._close = self._close or names.get(b"connection", b"").lower() == b"close"
        if self._close and b"connection" not in names:
            lines.append("connection: close")
        host, port = (self._writer.get_extra_info("peername") or ("", 0))[:2]
        self._listener.access(Access(f"{host}:{port}", self._method, self._target, status))
        self._write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def _send_body(self, body: bytes, more: bool) -> None:
        if self._chunked:
            if body:
                self._write(b"%x\r\n%s\r\n" % (len(body), body))
            if not more:
                self._write(b"0\r\n\r\n")
        elif self._method != "HEAD":
            if len(body) > self._expected:
                raise RuntimeError("Response content longer than Content-Length")
            self._expected -= len(body)
            self._write(body)
            if not more and self._expected and not self._left.is_set():
                raise RuntimeError("Response content shorter than Content-Length")
        if not more:
            self._complete.set()

    def _write(self, data: bytes) -> None:
        if not self._left.is_set():
            self._writer.write(data)

    async def _answer(self, status: int, text: bytes) -> None:
        """The server's own answer, where the application has none."""
        self._close = True
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": text})

    async def _read_body(self, headers: Mapping[str, str]) -> AsyncGenerator[tuple[bytes, bool], None]:
        """Pieces of the body, each with whether there are more; one empty piece where it has none."""
        if self._unasked:
            self._unasked = False
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := await self._chunk_size():
                yield await self._reader.readexactly(size), True
                await self._reader.readline()
            await self._reader.readline()
            yield b"", False
            return
        text = headers.get("content-length", "0")
        left = int(text) if text.isdigit() else _MAX_BODY + 1
        if left > _MAX_BODY:
            raise ConnectionError
        while left > _PIECE:
            piece = await self._reader.readexactly(_PIECE)
            left -= _PIECE
            yield piece, True
        yield await self._reader.readexactly(left) if left else b"", False

    async def _chunk_size(self) -> int:
        line = await self._reader.readline()
        try:
            return int(line.split(b";")[0], 16)
        except ValueError:
            raise ConnectionError("no chunk") from None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
