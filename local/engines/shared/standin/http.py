"""HTTP/1.1 as far as an inference server needs it, on asyncio alone: importing a framework would double the start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

_MAX_BODY = 256 << 20
_STREAM_LIMIT = 1 << 17


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    client: str
    gone: Callable[[], bool]
    """Whether the client has left."""


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None


def json_response(document: Any, status: int = 200, **headers: str) -> Response:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, {"content-type": "application/json", **headers})


Handler = Callable[[Request], Awaitable[Response]]
AccessLog = Callable[[Request, int], None]


async def serve(handler: Handler, host: str, port: int, on_access: AccessLog) -> asyncio.Server:
    """Starts serving. Raises OSError where the address is taken."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await _exchange(reader, writer, handler, on_access):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # the client went away, or sent what is no HTTP: there is nobody to answer
        finally:
            writer.close()

    return await asyncio.start_server(connection, host, port, limit=_STREAM_LIMIT, backlog=2048)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler, on_access: AccessLog
) -> bool:
    """One request and its answer; whether the connection stays open."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return False
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        await _write(writer, Response(400, b"Invalid HTTP request received."), close=True, head_only=False)
        return False
    headers = {}
    for line in lines:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, headers)
    peer = writer.get_extra_info("peername") or ("", 0)
    request = Request(
        method,
        unquote(urlsplit(target).path),
        headers,
        body,
        f"{peer[0]}:{peer[1]}",
        lambda: reader.at_eof() or writer.transport.is_closing(),
    )
    response = await handler(request)
    close = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
    on_access(request, response.status)
    await _write(writer, response, close, head_only=method == "HEAD")
    return not close


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    text = headers.get("content-length", "0")
    length = int(text) if text.isdigit() else _MAX_BODY + 1
    if length > _MAX_BODY:
        raise ConnectionError
    return await reader.readexactly(length) if length else b""


async def _write(writer: asyncio.StreamWriter, response: Response, close: bool, head_only: bool) -> None:
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {response.status} {reason}", f"date: {formatdate(usegmt=True)}", "server: uvicorn"]
    if response.stream is None:
        lines.append(f"content-length: {len(response.body)}")
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.stream is not None:
        lines.append("transfer-encoding: chunked")
    if close:
        lines.append("connection: close")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if response.stream is None:
        if not head_only:
            writer.write(response.body)
        await writer.drain()
        return
    async with aclosing(response.stream) as stream:  # a client that leaves ends the generation at once
        async for chunk in stream:
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
