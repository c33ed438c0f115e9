"""Web endpoints: each request is an input of the function, its ASGI events travel beside it.

Requests wait for a cold container. After 150 s without a response the client is redirected (303) to where the answer
will be, as on Modal, so that no proxy on the way gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from modal_proto import api_pb2

from local.modal_cloud.ingress import headers, websockets
from local.modal_cloud.seams import WebStream

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

LONGEST_SILENCE = 150.0
"""Seconds after which a client is redirected."""
PARKED_SECONDS = 600.0
"""How long an answer waits for a redirected client."""
CALL_PARAMETER = "__modal_function_call_id"
_LARGEST_CHUNK = 1 << 20
_Status = api_pb2.GenericResult


class Exchange:
    """One request and its answer; outlives the client's connection when the client is redirected."""

    def __init__(self, stream: WebStream) -> None:
        self.stream = stream
        self._events: AsyncIterator[api_pb2.Asgi] = stream.receive()
        self._next: asyncio.Task[api_pb2.Asgi | None] | None = None

    async def next_event(self, seconds: float | None = None) -> api_pb2.Asgi | None:
        """None after the last one. Raises TimeoutError, and then can be called again."""
        if self._next is None:
            self._next = asyncio.create_task(self._advance())
        done, _ = await asyncio.wait([self._next], timeout=seconds)
        if not done:
            raise TimeoutError
        event, self._next = self._next.result(), None
        return event

    def abandon(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self.stream.abandon()

    async def _advance(self) -> api_pb2.Asgi | None:
        return await anext(self._events, None)


class WebRequests:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._parked: dict[str, tuple[Exchange, asyncio.TimerHandle]] = {}

    async def handle(self, request: web.BaseRequest, function_id: str, method: str) -> web.StreamResponse:
        if websockets.is_upgrade(request):
            return await self._websocket(request, function_id, method)
        parked = self._parked.pop(request.query.get(CALL_PARAMETER, ""), None)
        if parked is not None:
            exchange, expiry = parked
            expiry.cancel()
        else:
            exchange = Exchange(self._cloud.calls.open_web(function_id, method, _scope(request)))
        feeder = None if parked is not None else asyncio.create_task(_feed(request, exchange.stream))
        finished = False
        try:
            try:
                event = await exchange.next_event(LONGEST_SILENCE)
            except TimeoutError:
                finished = True
                return self._park(request, exchange)
            if event is None:
                finished = True
                return _without_response(exchange.stream.result)
            response = await _relay(request, exchange, event)
            finished = True
            return response
        finally:
            if feeder is not None:
                feeder.cancel()
            if not finished:
                exchange.abandon()

    async def _websocket(self, request: web.BaseRequest, function_id: str, method: str) -> web.StreamResponse:
        scope = {
            **_scope(request),
            "type": "websocket",
            "scheme": "ws",
            "headers": [[name.lower(), value] for name, value in websockets.passed_on(request)],
            "subprotocols": websockets.protocols(request),
        }
        stream = self._cloud.calls.open_web(function_id, method, scope)
        try:
            return await websockets.relay(request, stream, lambda: _without_response(stream.result))
        finally:
            stream.abandon()

    def _park(self, request: web.BaseRequest, exchange: Exchange) -> web.Response:
        call_id = exchange.stream.call_id
        loop = asyncio.get_running_loop()
        self._parked[call_id] = (exchange, loop.call_later(PARKED_SECONDS, self._expire, call_id))
        location = str(request.rel_url.update_query({CALL_PARAMETER: call_id}))
        return headers.refusal(303, "the answer is on its way", Location=location)

    def _expire(self, call_id: str) -> None:
        exchange, _ = self._parked.pop(call_id)
        exchange.abandon()


def _scope(request: web.BaseRequest) -> dict[str, object]:
    """As in the ASGI specification, but with the path as it came: decoding would lose `%2F`."""
    path, _, query = request.raw_path.partition("?")
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [[name.lower(), value] for name, value in headers.passed_on(request.raw_headers)],
        "client": list(peer[:2]) if peer else ["127.0.0.1", 0],
    }


async def _feed(request: web.BaseRequest, stream: WebStream) -> None:
    """A first message is needed even without a body: the container takes silence for a lost request."""
    await headers.invite_body(request)
    with contextlib.suppress(ConnectionError, aiohttp.ClientError):  # the client left: `handle` is cancelled as well
        async for block in request.content.iter_any():
            for start in range(0, len(block), _LARGEST_CHUNK):
                piece = block[start : start + _LARGEST_CHUNK]
                stream.send(api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=piece, more_body=True)))
    stream.send(api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=b"", more_body=False)))


async def _relay(request: web.BaseRequest, exchange: Exchange, event: api_pb2.Asgi) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    current: api_pb2.Asgi | None = event
    complete = False
    while current is not None:
        match current.WhichOneof("type"):
            case "http_response_start":
                start = current.http_response_start
                response = headers.response_from(start.status, _pairs(start.headers))
                await response.prepare(request)
            case "http_response_body" if response is not None:
                if current.http_response_body.body:
                    await response.write(current.http_response_body.body)
                complete = not current.http_response_body.more_body
        current = await exchange.next_event()
    if response is None:
        return _without_response(exchange.stream.result)
    if not complete and request.transport is not None:
        # Half an answer must not look like a whole one.
        request.transport.abort()
    with contextlib.suppress(ConnectionError):
        await response.write_eof()
    return response


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The wire has names and values in turn."""
    return list(zip(flat[::2], flat[1::2], strict=True))


def _without_response(result: api_pb2.GenericResult | None) -> web.Response:
    """The input is over and nothing had been answered."""
    if result is None or result.status == _Status.GENERIC_STATUS_SUCCESS:
        return headers.refusal(502, "the web server in the container is not reachable")
    if result.status == _Status.GENERIC_STATUS_TIMEOUT:
        return headers.refusal(504, f"the request took too long: {result.exception}")
    if result.status == _Status.GENERIC_STATUS_TERMINATED:
        return headers.refusal(503, f"the request was ended: {result.exception}")
    return headers.refusal(500, f"the request failed: {result.exception}")
