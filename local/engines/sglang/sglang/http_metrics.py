"""Requests by endpoint, counted where SGLang counts them: behind its key check."""

from __future__ import annotations

from collections.abc import Callable

from standin.application import Asgi, Message, Receive, Scope, Send

from sglang.metrics import Metrics


class CountedRequests:
    def __init__(self, app: Asgi, metrics: Metrics, knows: Callable[[str], bool]) -> None:
        """`knows` tells which paths are endpoints: others are not counted."""
        self._app = app
        self._metrics = metrics
        self._knows = knows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").rstrip("/") or "/"
        if scope["type"] != "http" or not self._knows(path):
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.http_ended(scope["method"], path, message["status"])
            await send(message)

        self._metrics.http_started(scope["method"], path)
        await self._app(scope, receive, counted)
