"""Puts the Hub together and starts it, in a process of its own or inside another one's event loop."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from local.hub import answers
from local.hub.api import Api
from local.hub.control import Control
from local.hub.faults import Faults
from local.hub.files import Files
from local.hub.store import Store
from local.hub.traffic import Traffic


@dataclass
class Hub:
    """A running Hub."""

    url: str
    port: int
    token: str
    _runner: web.AppRunner

    async def close(self) -> None:
        await self._runner.cleanup()


def build(store: Store) -> web.Application:
    traffic, faults = Traffic(), Faults()
    api = Api(store)

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ordered faults come first, then the token; the control API and signed links need none."""
        if request.path.startswith("/_local/"):
            return await handler(request)
        if request.path.startswith("/api/"):
            traffic.api[f"{request.method} {request.path}"] += 1
        fault = faults.take(request.method, request.path)
        if fault is not None and fault.kind == "status":
            return answers.ordered(fault.status, request.path)
        if fault is not None and fault.kind == "429":
            response = answers.refusal(429, "We had to rate limit you")
            response.headers["Retry-After"] = str(fault.retry_after)
            return response
        request["fault"] = fault
        if request.path.startswith("/_lfs/"):
            return await handler(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return answers.no_token()
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip(), store.token):
            return answers.wrong_token()
        return await handler(request)

    app = web.Application(middlewares=[gate])
    app.add_routes(Control(store, traffic, faults).routes())
    app.add_routes(api.routes())
    app.add_routes(Files(store, api, traffic, faults).routes())
    return app


async def start(folder: Path, port: int = 0, host: str = "127.0.0.1") -> Hub:
    """Serves the repositories under `folder` (made if missing) on `host:port`; port 0 takes a free one.

    Raises OSError where the port is taken. The caller closes the Hub with `await hub.close()`.
    """
    store = Store(folder)
    # Downloads cut by a client, or stalled by an ordered fault, must not hold up the end.
    runner = web.AppRunner(build(store), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    actual = runner.addresses[0][1]
    return Hub(f"http://{host}:{actual}", actual, store.token, runner)
