"""The HTTP side: signed URLs on the loopback interface, for clients and containers alike."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from aiohttp import web

from local.modal_cloud.errors import Refused
from local.modal_cloud.folders import Folders
from local.modal_cloud.volumes.state import Volumes
from local.modal_cloud.watching.control import PAGE, READABLE, page_token

CHUNK = 1024 * 1024
Overview = Callable[[], list[dict[str, Any]]]
"""One entry for each running app, as JSON shows it."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BulkHttp:
    def __init__(
        self,
        folders: Folders,
        volumes: Volumes,
        port: int,
        secret: str,
        overview: Overview,
        control: Sequence[web.RouteDef] = (),
    ) -> None:
        """`secret` signs the URLs, so that knowing the port is not enough to read a volume. `control` are further
        routes below /control/, for those who know the secret."""
        self._folders = folders
        self._volumes = volumes
        self._port = port
        self._secret = secret.encode()
        self._overview = overview
        self._control = control
        self._runner: web.AppRunner | None = None

    def blob_url(self, blob_id: str) -> str:
        return self._url(f"/blobs/{blob_id}")

    def block_url(self, sha256: str) -> str:
        return self._url(f"/blocks/{sha256}")

    def file_url(self, volume_id: str, path: str, start: int, length: int) -> str:
        return self._url(f"/volumes/{volume_id}", file=path, start=str(start), length=str(length))

    def app_url(self, app_id: str) -> str:
        """A page about the app, for people; the id is all it takes to read it."""
        return f"http://127.0.0.1:{self._port}/apps/{app_id}"

    async def start(self) -> None:
        app = web.Application(client_max_size=0, middlewares=[self._check])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/status", self._status)
        app.router.add_get("/apps/{id}", self._app_page)
        app.router.add_put("/blobs/{id}", self._put_blob)
        app.router.add_get("/blobs/{id}", self._get_blob)
        app.router.add_put("/blocks/{sha256}", self._put_block)
        app.router.add_get("/volumes/{id}", self._get_file)
        app.router.add_routes(self._control)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, shutdown_timeout=1).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _url(self, path: str, **query: str) -> str:
        query["signature"] = self._signature(path, query)
        return f"http://127.0.0.1:{self._port}{quote(path)}?{urlencode(query)}"

    def _signature(self, path: str, query: dict[str, str]) -> str:
        signed = "\n".join([path, *(f"{key}={value}" for key, value in sorted(query.items()))])
        return hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest()

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/status" or request.path.startswith("/control/"):
            self._authorize(request)
        elif request.path not in ("/healthz", PAGE) and not request.path.startswith("/apps/"):
            query = dict(request.query)
            signature = query.pop("signature", "")
            if not hmac.compare_digest(signature, self._signature(request.path, query)):
                raise web.HTTPForbidden(text="the signature of this URL is wrong")
        return await handler(request)

    def _authorize(self, request: web.Request) -> None:
        """Raises HTTPUnauthorized."""
        accepted = [self._secret]
        if request.method == "GET" and request.path in READABLE:
            accepted.append(page_token(self._secret.decode()).encode())
        authorization = request.headers.get("Authorization", "").encode()
        if not any(hmac.compare_digest(authorization, b"Bearer " + secret) for secret in accepted):
            raise web.HTTPUnauthorized(text="the token secret is wrong")

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._overview())

    async def _app_page(self, request: web.Request) -> web.Response:
        for app in self._overview():
            if app["id"] == request.match_info["id"]:
                return web.json_response(app)
        raise web.HTTPNotFound(text="this app is not running")

    async def _put_blob(self, request: web.Request) -> web.Response:
        md5 = hashlib.md5(usedforsecurity=False)
        await self._receive(request, self._folders.blob(request.match_info["id"]), md5, None)
        return web.Response(headers={"ETag": f'"{md5.hexdigest()}"'})

    async def _put_block(self, request: web.Request) -> web.Response:
        sha256 = request.match_info["sha256"]
        await self._receive(request, self._folders.block(sha256), hashlib.sha256(), sha256)
        return web.Response(text=sha256)

    async def _receive(self, request: web.Request, target: Path, digest: hashlib._Hash, expected: str | None) -> None:
        """The body becomes `target` in one step, once it is complete and its digest is the expected one."""
        part = target.with_name(f".{uuid4().hex}")
        try:
            with part.open("wb") as file:
                async for chunk in request.content.iter_chunked(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if expected is not None and digest.hexdigest() != expected:
                raise web.HTTPBadRequest(text=f"content has SHA-256 {digest.hexdigest()}, expected {expected}")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        file = self._folders.blob(request.match_info["id"])
        if not file.is_file():
            raise web.HTTPNotFound(text="no such blob")
        return web.FileResponse(file)

    async def _get_file(self, request: web.Request) -> web.Response:
        start, length = int(request.query["start"]), int(request.query["length"])
        try:
            file = self._volumes.content(request.match_info["id"]).existing(request.query["file"])
        except Refused as error:
            raise web.HTTPNotFound(text=str(error.message)) from None
        body = await asyncio.to_thread(_read, file, start, length)
        return web.Response(body=body, content_type="application/octet-stream")


def _read(file: Path, start: int, length: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(start)
        return stream.read(length)
