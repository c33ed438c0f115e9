"""Servers (`@app.server`): requests go straight to the port of a container that is ready; 503 while none is."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector
from aiohttp.http import StreamWriter
from yarl import URL

from local.modal_cloud.ingress import headers, websockets
from local.modal_cloud.ingress.framing import BrokenAnswer
from local.modal_cloud.ingress.upstream import Upstream

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

    from local.modal_cloud.cloud import Cloud


class _OneConnection(BaseConnector):
    """Uses a connection that exists, for one WebSocket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(force_close=True)
        self._connection: socket.socket | None = connection

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        connection, self._connection = self._connection, None
        if connection is None:
            # aiohttp repeats a handshake whose connection ended without an answer.
            raise aiohttp.ServerDisconnectedError("it closed the connection")
        _, protocol = await self._loop.create_connection(self._factory, sock=connection)
        return protocol


class ServerRequests:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def handle(self, request: web.BaseRequest, function_id: str) -> web.StreamResponse:
        pool = self._cloud.scheduler.pool(function_id)
        while replica := pool.acquire(request.headers.get("Modal-Session-ID", "")):
            try:
                limit = replica.function.max_concurrent_inputs
                if limit and replica.requests > limit:
                    return headers.refusal(429, f"all containers have {limit} requests under way")
                try:
                    connection = await replica.connect()
                except OSError as error:
                    if not replica.takes_work:
                        continue  # it has just died: try another
                    return headers.refusal(502, f"the server in the container doesn't answer: {error.strerror}")
                if websockets.is_upgrade(request):
                    return await _websocket(request, connection)
                return await _request(request, connection)
            finally:
                pool.release(replica)
        return headers.refusal(503, "no container of this server is ready yet", **{"Retry-After": "1"})


async def _websocket(request: web.BaseRequest, connection: socket.socket) -> web.StreamResponse:
    passed = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in websockets.passed_on(request)]
    passed.append(("X-Forwarded-For", request.remote or "127.0.0.1"))
    url = URL(f"http://container{request.raw_path}", encoded=True)
    async with aiohttp.ClientSession(
        connector=_OneConnection(connection), cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=["User-Agent"]
    ) as session:
        return await websockets.relay_to_port(request, session, url, passed)


async def _request(request: web.BaseRequest, connection: socket.socket) -> web.StreamResponse:
    async with Upstream.over(connection) as upstream:
        sending = asyncio.create_task(upstream.send(request))
        try:
            return await _answer(request, upstream)
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def _answer(request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
    try:
        answer = await upstream.head(request)
    except (OSError, BrokenAnswer) as error:
        return headers.refusal(502, f"the server in the container doesn't answer: {error}")
    response = headers.response_from(answer.code, answer.raw_headers)
    writer = await response.prepare(request)
    assert isinstance(writer, StreamWriter)
    try:
        await upstream.pass_body(writer)
    except (OSError, BrokenAnswer):
        # The container died in the middle: half an answer must not look like a whole one.
        if request.transport is not None:
            request.transport.abort()
        return response
    if answer.chunked:
        writer.chunked = False  # its last chunk has been passed on, too
    await response.write_eof()
    return response
