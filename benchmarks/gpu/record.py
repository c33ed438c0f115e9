"""The engine's own answers behind the gate, with and without the key: what a stand-in has to answer alike."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

from benchmarks.gpu.load import Target
from serving.loopback import HOST
from serving.warmup import CHAT_PATH

_HI = [{"role": "user", "content": "hi"}]
_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
_OTHER = {"type": "function", "function": {"name": "other"}}

# Method, path, body: a document, bytes or None.
_WITHOUT_KEY: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/health", None),
    ("HEAD", "/health", None),
    ("POST", "/health", {}),
    ("GET", "/health/", None),
    ("GET", "//health", None),
    ("GET", "/health_generate", None),
    ("GET", "/metrics", None),
    ("GET", "/metrics/", None),
    ("GET", "/v1/models", None),
    ("GET", "/model_info", None),
    ("GET", "/server_info", None),
    ("GET", "/get_server_info", None),
    ("POST", "/generate", {"text": "hi"}),
    ("POST", "/flush_cache", {}),
    ("POST", "/freeze_gc", None),
    ("POST", "/tokenize", {"prompt": "hi"}),
    ("POST", "/invocations", {"prompt": "hi"}),
    ("POST", CHAT_PATH, {"messages": _HI}),
    ("GET", "/docs", None),
    ("GET", "/openapi.json", None),
    ("GET", "/nope", None),
)
_WITH_KEY: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/health", None),
    ("GET", "/health_generate", None),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/other", None),
    ("GET", "/nope", None),
    ("GET", "/freeze_gc", None),
    ("POST", "/freeze_gc", None),
    ("DELETE", "/freeze_gc", None),
    ("GET", CHAT_PATH, None),
    ("POST", "/v1/completions", {"prompt": "Hi there", "max_tokens": 3}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 8}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 8, "chat_template_kwargs": {"enable_thinking": False}}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 8, "tools": [_TOOL], "tool_choice": "auto"}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 2, "model": "nope"}),
    ("POST", CHAT_PATH, {"messages": []}),
    ("POST", CHAT_PATH, {"messages": "hi"}),
    ("POST", CHAT_PATH, {"messages": [{"role": "alien", "content": "x"}]}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": "many"}),
    ("POST", CHAT_PATH, {"messages": _HI, "tool_choice": "required"}),
    ("POST", CHAT_PATH, {"messages": _HI, "tools": [_TOOL], "tool_choice": _OTHER}),
    ("POST", CHAT_PATH, {"messages": _HI, "response_format": {"type": "json_schema"}}),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 900_000}),
    ("POST", CHAT_PATH, {"max_tokens": 2}),
    ("POST", CHAT_PATH, b"{not json"),
    ("POST", CHAT_PATH, {"messages": _HI, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}),
)
_SITE = re.compile(r"/[^\s\"']*/(?=sglang/|fastapi/|starlette/|uvicorn/)")


def record(target: Target) -> list[dict[str, Any]]:
    """Each request (`sent`: its body) with what was answered: status, names of headers, JSON `body`, `events` of a
    stream, or `text`."""
    asked = [(*request, False) for request in _WITHOUT_KEY] + [(*request, True) for request in _WITH_KEY]
    return [_exchange(target, method, path, body, key) for method, path, body, key in asked]


def _exchange(target: Target, method: str, path: str, body: Any, key: bool) -> dict[str, Any]:
    if isinstance(body, dict) and path.startswith("/v1/") and "model" not in body:
        body = {"model": target.model, **body}
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {target.api_key}"
    sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection(HOST, target.port, timeout=30)
    asked = {"method": method, "path": path, "key": key, "sent": body.decode() if isinstance(body, bytes) else body}
    try:
        connection.request(method, path, sent, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        names = [name.lower() for name, _ in response.getheaders()]
        answer: dict[str, Any] = {"status": response.status, "headers": names}
    except (OSError, http.client.HTTPException) as error:
        return {**asked, "failed": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()
    text = _SITE.sub("SITE-PACKAGES/", text)
    if text.startswith("data: "):
        answer["events"] = [json.loads(e[6:]) if e != "data: [DONE]" else "[DONE]" for e in text.split("\n\n") if e]
    else:
        try:
            answer["body"] = json.loads(text)
        except ValueError:
            answer["text"] = text[:300]
    return {**asked, **answer}


def own_metrics(target: Target) -> tuple[str, list[str]]:
    """What `/metrics` answers with the key, and the lines in it that are the supervisor's own."""
    connection = http.client.HTTPConnection(HOST, target.port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {target.api_key}"})
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return text, [line for line in text.splitlines() if line.startswith("glm_serving_")]
