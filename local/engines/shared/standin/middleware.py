"""Middleware that both engines have: the bearer key, cross-origin requests, and functions in a middleware's place."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from standin.application import Application, Asgi, Message, Receive, Response, Scope, Send, json_response


def header(scope: Scope, name: str) -> str | None:
    wanted = name.lower().encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


class BearerKey:
    """401 where a guarded path is asked for without one of the keys; OPTIONS is never guarded."""

    def __init__(self, app: Asgi, keys: Sequence[str], guards: Callable[[str], bool]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._guards = guards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] == "http" and scope["method"] != "OPTIONS" and self._guards(scope["path"])
        if guarded and not self._knows(header(scope, "authorization") or ""):
            await json_response({"error": "Unauthorized"}, 401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        return scheme.lower() == "bearer" and any(hmac.compare_digest(key.encode(), known) for known in self._keys)


class Cors:
    """Starlette's answers to requests from other origins, where all origins, methods and headers are allowed."""

    def __init__(self, app: Asgi, credentials: bool) -> None:
        self._app = app
        self._credentials = [(b"access-control-allow-credentials", b"true")] if credentials else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header(scope, "origin") if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and header(scope, "access-control-request-method") is not None:
            await self._preflight(scope, origin)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._allow()]}
            await send(message)

        await self._app(scope, receive, with_headers)

    def _allow(self) -> list[tuple[bytes, bytes]]:
        return [(b"access-control-allow-origin", b"*"), *self._credentials]

    def _preflight(self, scope: Scope, origin: str) -> Response:
        headers = {
            "access-control-allow-origin": origin if self._credentials else "*",
            "access-control-allow-methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            "access-control-max-age": "600",
            "content-type": "text/plain; charset=utf-8",
        }
        if self._credentials:
            headers |= {"access-control-allow-credentials": "true", "vary": "Origin"}
        if asked := header(scope, "access-control-request-headers"):
            headers["access-control-allow-headers"] = asked
        return Response(200, b"OK", headers)


def add_by_path(app: Application, path: str) -> None:
    """Imports `package.module.Name` and adds it: a class as ASGI middleware, a coroutine function as one that is
    called with a request and the next in line. Raises ValueError for anything else, and what the import raises."""
    import importlib
    import inspect  # here, because it would be a tenth of the start of an engine that names no middleware

    module, _, name = path.rpartition(".")
    imported = getattr(importlib.import_module(module), name)
    if inspect.isclass(imported):
        app.add_middleware(cast("Callable[..., Asgi]", imported))
    elif inspect.iscoroutinefunction(imported):
        app.add_middleware(FunctionMiddleware, imported)
    else:
        raise ValueError(f"Invalid middleware {path}. Must be a function or a class.")


class _Answered:
    """The next one's answer, as the function sees it: `status_code`, `headers`, `body_iterator` can be replaced."""

    def __init__(self, status: int, headers: dict[str, str], body: AsyncIterator[bytes]) -> None:
        self.status_code = status
        self.headers = headers
        self.body_iterator = body


class FunctionMiddleware:
    """`async def f(request, call_next)`, with as much of Starlette's request and response as such functions use."""

    def __init__(self, app: Asgi, function: Callable[..., Awaitable[Any]]) -> None:
        self._app = app
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        tasks: list[asyncio.Task[None]] = []

        async def run() -> None:
            try:
                await self._app(scope, receive, messages.put)
            finally:
                await messages.put(None)

        async def call_next(request: Any) -> _Answered:
            tasks.append(asyncio.create_task(run()))
            start = await messages.get()
            if start is None:
                await tasks[0]  # raises what went wrong in there
                raise RuntimeError("No response returned.")
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start.get("headers", [])}
            return _Answered(start["status"], headers, _bodies(messages))

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        url = SimpleNamespace(path=scope["path"], query=scope["query_string"].decode("latin-1"))
        request = SimpleNamespace(
            method=scope["method"], url=url, headers=headers, scope=scope, receive=receive, app=scope["app"]
        )
        answer = await self._function(request, call_next)
        if not isinstance(answer, _Answered):
            await answer(scope, receive, send)
            return
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": pairs})
        async for body in answer.body_iterator:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        for task in tasks:
            await task


async def _bodies(messages: Any) -> AsyncIterator[bytes]:
    while (message := await messages.get()) is not None:
        if body := message.get("body", b""):
            yield body
