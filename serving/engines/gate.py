"""The gate: an ASGI middleware inside the engine's own process that asks for the key where the engine does not.

With a key set SGLang still answers `/metrics` and `/health_generate` (a free generation) to anybody, and vLLM (0.23.0)
checks `/v1`, `/v2` and `/inference` alone: `/invocations` and `/tokenize` work the model without a key. Behind the
gate everything needs `Authorization: Bearer <key>` but two things:

- `GET /health`, for keep-warm pings and load balancers, which have no key. It must cost nothing then: vLLM's only
  looks at its engine; SGLang's would generate a token, which `SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0` (set by
  serving/engines/sglang.py) turns off: 503 until the server's own first generation succeeded, 200 from then on, at
  once instead of after its second of sleep. What that no longer notices, a scheduler that hangs, the supervisor's
  monitor does; `/health_generate` still asks for a token, with the key.
- CORS preflights of `/v1/…`, which browsers send without the key and the engines' CORS middleware, which both always
  have, answers by itself. That it does so takes both headers of a preflight (Starlette: one without `Origin` is a
  plain request to it), and without the key no `OPTIONS` may reach a route: the one of the metrics answers any method.

After a rotation the key before is taken as well, for a while (serving/engines/previous_key.py): such a request goes on
with the current key, for the engine's own check.

No hop and no buffer: what an allowed request and its answer are made of goes through as it came. `/metrics` alone gets
the supervisor's own metrics (the file named by GLM_SERVING_METRICS_FILE) behind the engine's, and with them how many
requests wait for the first byte of their answer (serving/engines/unanswered.py).

Standard library only. vLLM loads it as `--middleware serving.engines.gate.Gate` (key: VLLM_API_KEY), SGLang by way of
serving/engines/sglang_server.py.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.engines.previous_key import PreviousKey
from serving.engines.unanswered import Unanswered

METRICS_FILE_VARIABLE = "GLM_SERVING_METRICS_FILE"
OPEN_PATH = "/health"
_ASKED_BY_BROWSERS = "/v1/"
"""Where clients in web pages call; a preflight of anything else is refused, whoever might answer it."""

_UNAUTHORIZED = b'{"error":"Unauthorized"}'  # what both engines say
_POLICY_VIOLATION = 1008  # RFC 6455; before a websocket is accepted servers answer the handshake with 403

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Key = Callable[[], "str | None"]


def _vllm_key() -> str | None:
    return os.environ.get("VLLM_API_KEY")


class Gate:
    """`api_key` is asked at each request; without a key nothing but `/health` and preflights gets through."""

    def __init__(self, app: App, api_key: Key = _vllm_key) -> None:
        self.app = app
        self._api_key = api_key
        self._previous_key = PreviousKey()
        self._unanswered = Unanswered()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or _is_open(scope):
            await self._pass_on(scope, receive, send)
        elif (let_in := self._with_key(scope)) is not None:
            await self._pass_on(let_in, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(_UNAUTHORIZED)).encode()),
                (b"www-authenticate", b"Bearer"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _UNAUTHORIZED})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            receive, send, settle = self._unanswered.follow(receive, send)
            try:
                await self.app(scope, receive, send)
            finally:
                settle()
        else:
            await self.app(*self._with_own_metrics(scope, receive, send))

    def _with_own_metrics(self, scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
        scrape = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].rstrip("/") == "/metrics"
        if scrape and (own := _own_metrics()):
            return _with_more(own + self._unanswered.metrics_text().encode(), scope, receive, send)
        return scope, receive, send

    def _with_key(self, scope: Scope) -> Scope | None:
        """The request as the engine gets it: as it came, or with the key before exchanged; None without a key."""
        key = self._api_key()
        scheme, _, given = (_header(scope["headers"], b"authorization") or b"").partition(b" ")
        if not key or scheme.lower() != b"bearer":
            return None
        # Of digests: how long the comparison takes tells neither the key's characters nor its length.
        digest = hashlib.sha256(given).digest()
        if hmac.compare_digest(digest, hashlib.sha256(key.encode()).digest()):
            return scope
        if not self._previous_key.is_key_of(digest):
            return None
        others = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
        return {**scope, "headers": [*others, (b"authorization", b"Bearer " + key.encode())]}


def _is_open(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    if scope["method"] == "OPTIONS":
        wanted = (b"origin", b"access-control-request-method")
        preflight = all(_header(scope["headers"], name) is not None for name in wanted)
        return preflight and scope["path"].startswith(_ASKED_BY_BROWSERS)
    return scope["path"] == OPEN_PATH and scope["method"] in ("GET", "HEAD")


def _header(headers: Any, name: bytes) -> bytes | None:
    """The first header of that name, as frameworks read it too."""
    return next((value for found, value in headers if found.lower() == name), None)


def _with_more(own: bytes, scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """A scrape with a `send` that adds `own` to the answer."""
    # Neither compressed nor in OpenMetrics, whose last line says that nothing follows.
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in (b"accept", b"accept-encoding")]
    adds = False

    async def send_more(message: Message) -> None:
        nonlocal adds
        if message["type"] == "http.response.start":
            answered = list(message.get("headers", ()))
            kind = _header(answered, b"content-type") or b""
            packed = _header(answered, b"content-encoding") not in (None, b"identity")
            adds = message["status"] == 200 and kind.startswith(b"text/plain") and not packed
            if adds:
                message = {**message, "headers": [_longer(*header, by=len(own)) for header in answered]}
        elif message["type"] == "http.response.body" and adds and not message.get("more_body", False):
            message = {**message, "body": bytes(message.get("body", b"")) + own}
        await send(message)

    return {**scope, "headers": headers}, receive, send_more


def _longer(name: bytes, value: bytes, *, by: int) -> tuple[bytes, bytes]:
    return (name, str(int(value) + by).encode()) if name.lower() == b"content-length" else (name, value)


def _own_metrics() -> bytes:
    """Prometheus text, on lines of its own wherever the engine's text ended; empty while there is none."""
    path = os.environ.get(METRICS_FILE_VARIABLE)
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return b""  # not written yet: the engine's own metrics are an answer
    return b"\n" + text if text else b""
