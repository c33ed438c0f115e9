"""An ASGI application with middleware, as Starlette's are: real inference servers are one, and so middleware written
for those runs here unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    gone: Callable[[], bool]
    """Whether the client has left."""


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends itself, for a middleware that answers in the application's place."""
        await _send(self, send, lambda: False)


def json_response(document: Any, status: int = 200, **headers: str) -> Response:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, body, {"content-type": "application/json", **headers})


def event_stream(events: AsyncGenerator[bytes, None]) -> Response:
    return Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=events)


Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """`handler` answers what reaches the end of the stack; `state` is for whoever serves it."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.state = SimpleNamespace()
        self._middleware: list[tuple[Callable[..., Asgi], tuple[Any, ...], dict[str, Any]]] = []
        self._stack: Asgi | None = None
        self._started = False

    def add_middleware(self, middleware_class: Callable[..., Asgi], *args: Any, **kwargs: Any) -> None:
        """Puts a middleware in front of those added before. Raises RuntimeError once the application has started."""
        if self._stack is not None:
            raise RuntimeError("Cannot add middleware after an application has started")
        self._middleware.insert(0, (middleware_class, args, kwargs))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if self._stack is None:
            self._stack = self.build_middleware_stack()
        await self._stack(scope, receive, send)

    def build_middleware_stack(self) -> Asgi:
        stack: Asgi = self._end
        for middleware_class, args, kwargs in reversed(self._middleware):
            stack = middleware_class(stack, *args, **kwargs)
        return stack

    async def _end(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"the stand-in has no {scope['type']} endpoints")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._started = True
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.handler is None or not self._started:
            # The real servers' handlers are made at start-up, which a middleware that swallows it prevents.
            raise RuntimeError("the application's start-up has not run: a middleware must pass the lifespan scope on")
        body = await _body(receive)
        if body is None:
            return
        left = asyncio.Event()
        watch = asyncio.create_task(_watch(receive, left))
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            response = await self.handler(Request(scope["method"], scope["path"], headers, body, left.is_set))
            await _send(response, send, left.is_set)
        except ConnectionError:
            return  # the client is gone: there is nobody to answer
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def _body(receive: Receive) -> bytes | None:
    """None where the client left before it had sent all of it."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _watch(receive: Receive, left: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left.set()


async def _send(response: Response, send: Send, left: Callable[[], bool]) -> None:
    headers = {**response.headers}
    if response.stream is None:
        headers = {"content-length": str(len(response.body)), **headers}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    if response.stream is not None:
        async with aclosing(response.stream) as stream:  # a client that leaves ends the generation at once
            async for chunk in stream:
                if left():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": response.body})
