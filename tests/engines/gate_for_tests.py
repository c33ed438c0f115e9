"""What a deployment adds to an engine, as its own module: imported inside the engine's process, standard library only.

Run as a module it starts SGLang with the middleware in it, the way a deployment without an engine flag for that does.
"""

from __future__ import annotations

import runpy
from typing import Any


class Gate:
    """Answers /closed itself, adds a metric to /metrics, passes the rest on."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] not in ("/closed", "/metrics", "/key"):
            await self._app(scope, receive, send)
        elif scope["path"] == "/key":
            await _answer(send, 200, str(scope["app"].server_args.api_key is not None).encode())
        elif scope["path"] == "/closed":
            await _answer(send, 418, b"closed")
        else:
            await self._metrics(scope, receive, send)

    async def _metrics(self, scope: Any, receive: Any, send: Any) -> None:
        start: dict[str, Any] = {}
        body = b""

        async def gather(message: dict[str, Any]) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                body += b"added_by_the_gate 1.0\n"
                kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                await send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, gather)


async def stamp(request: Any, call_next: Any) -> Any:
    """A middleware that is a function."""
    response = await call_next(request)
    response.headers["x-stamp"] = request.url.path
    return response


class Deaf:
    """Forgets every scope but http: the application behind it never starts up."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._app(scope, receive, send)


class Liar:
    """States a length that its answer does not have."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/lie":
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"three"})


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    from sglang.srt.entrypoints.http_server import app

    for middleware in (Gate, Liar):
        app.add_middleware(middleware)
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
