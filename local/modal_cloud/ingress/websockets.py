"""WebSockets: to a function container as ASGI events beside its call, to a server's port as a second WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from aiohttp import web
from modal_proto import api_pb2

from local.modal_cloud.ingress import headers
from local.modal_cloud.seams import WebStream

LARGEST_MESSAGE = 2 << 20
"""Bytes, as on Modal (modal.com/docs/guide/webhooks)."""
_ABNORMAL, _FAILED = 1006, 1011
_Asgi = api_pb2.Asgi


def is_upgrade(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def passed_on(request: web.BaseRequest) -> headers.RawHeaders:
    """Without those of this connection's own handshake; the protocols travel apart."""
    pairs = headers.passed_on(request.raw_headers)
    return [(name, value) for name, value in pairs if not name.lower().startswith(b"sec-websocket-")]


def protocols(request: web.BaseRequest) -> list[str]:
    """Subprotocols that the client offers, the most wanted first."""
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [name.strip() for name in offered.split(",") if name.strip()]


async def relay(
    request: web.BaseRequest, stream: WebStream, without_answer: Callable[[], web.Response]
) -> web.StreamResponse:
    """A WebSocket and the ASGI application at the other end of `stream`. An application that closes before it accepts
    refuses with 403, as the ASGI specification says."""
    stream.send(_Asgi(websocket_connect=_Asgi.WebsocketConnect()))
    events = stream.receive()
    first = await anext(events, None)
    kind = first.WhichOneof("type") if first is not None else ""
    if first is None or kind != "websocket_accept":
        if kind == "websocket_close":
            return headers.refusal(403, "the application refused the WebSocket")
        return without_answer()
    accepted = first.websocket_accept
    chosen = (accepted.subprotocol,) if accepted.subprotocol else ()
    socket = web.WebSocketResponse(protocols=chosen, compress=False, max_msg_size=LARGEST_MESSAGE)
    for name, value in zip(accepted.headers[::2], accepted.headers[1::2], strict=True):
        socket.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    await socket.prepare(request)

    async def from_client() -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                stream.send(_Asgi(websocket_receive=_Asgi.WebsocketReceive(text=message.data)))
            elif message.type is aiohttp.WSMsgType.BINARY:
                stream.send(_Asgi(websocket_receive=_Asgi.WebsocketReceive(bytes=message.data)))
        code = socket.close_code or _ABNORMAL
        stream.send(_Asgi(websocket_disconnect=_Asgi.WebsocketDisconnect(code=code)))

    async def to_client() -> None:
        async for event in events:
            match event.WhichOneof("type"):
                case "websocket_send" if event.websocket_send.HasField("text"):
                    await socket.send_str(event.websocket_send.text)
                case "websocket_send":
                    await socket.send_bytes(event.websocket_send.bytes)
                case "websocket_close":
                    close = event.websocket_close
                    await socket.close(code=close.code or 1000, message=close.reason.encode())
                    return
        await socket.close(code=_FAILED, message=b"the container ended")

    await _both(from_client(), to_client())
    return socket


async def relay_to_port(
    request: web.BaseRequest, session: aiohttp.ClientSession, url: Any, others: list[tuple[str, str]]
) -> web.StreamResponse:
    """A WebSocket and a server's own; `others`: further headers that the server gets."""
    try:
        upstream = await session.ws_connect(
            url, headers=others, protocols=protocols(request), max_msg_size=LARGEST_MESSAGE, autoclose=False
        )
    except aiohttp.WSServerHandshakeError as error:
        return headers.refusal(error.status, "the server refused the WebSocket")
    except (OSError, aiohttp.ClientError) as error:
        return headers.refusal(502, f"the server in the container doesn't answer: {error}")
    async with upstream:
        chosen = (upstream.protocol,) if upstream.protocol else ()
        socket = web.WebSocketResponse(protocols=chosen, compress=False, max_msg_size=LARGEST_MESSAGE)
        await socket.prepare(request)
        await _both(_pump(socket, upstream), _pump(upstream, socket))
    return socket


Peer = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Peer, target: Peer) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
    code = source.close_code or _FAILED
    await target.close(code=_FAILED if code == _ABNORMAL else code)


async def _both(*directions: Coroutine[Any, Any, None]) -> None:
    """Until one of them is over; a peer that vanishes ends both."""
    tasks = [asyncio.create_task(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        # The other end has been told and may still say its last word.
        await asyncio.wait(tasks, timeout=2.0)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, aiohttp.ClientError):
                await task
