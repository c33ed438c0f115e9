"""Servers (`@app.server`): requests go straight to the port of a container that is ready; 503 while none is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector
from yarl import URL

from local.modal_cloud.ingress import headers, websockets

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

    from local.modal_cloud.cloud import Cloud

_LARGEST_HEADER = 64 * 1024


class _OneConnection(BaseConnector):
    """Uses a connection that exists, for one request. Connections aren't kept: a server may close one at any time,
    and then a request on it would fail for no reason."""

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
            # aiohttp repeats a GET whose connection ended without an answer.
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
                return await _proxy(request, connection)
            finally:
                pool.release(replica)
        return headers.refusal(503, "no container of this server is ready yet", **{"Retry-After": "1"})


async def _proxy(request: web.BaseRequest, connection: socket.socket) -> web.StreamResponse:
    passed = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.passed_on(request.raw_headers)
    ]
    peer = request.remote or "127.0.0.1"
    passed.append(("X-Forwarded-For", peer))
    async with aiohttp.ClientSession(
        connector=_OneConnection(connection),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        max_line_size=_LARGEST_HEADER,
        max_field_size=_LARGEST_HEADER,
        skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
    ) as session:
        if websockets.is_upgrade(request):
            others = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in websockets.passed_on(request)
            ]
            url = URL(f"http://container{request.raw_path}", encoded=True)
            return await websockets.relay_to_port(request, session, url, [*others, ("X-Forwarded-For", peer)])
        try:
            upstream = await session.request(
                request.method,
                URL(f"http://container{request.raw_path}", encoded=True),
                headers=passed,
                data=_body(request) if headers.has_body(request) else None,
                allow_redirects=False,
            )
        except (OSError, aiohttp.ClientError) as error:
            return headers.refusal(502, f"the server in the container doesn't answer: {error}")
        return await _answer(request, upstream)


async def _answer(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    async with upstream:
        response = headers.response_from(upstream.status, upstream.raw_headers)
        await response.prepare(request)
        try:
            async for block in upstream.content.iter_any():
                await response.write(block)
        except (aiohttp.ClientError, asyncio.IncompleteReadError):
            # The container died in the middle: half an answer must not look like a whole one.
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    await headers.invite_body(request)
    async for block in request.content.iter_any():
        yield block
