"""One streamed chat with an endpoint, and how long its parts took."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

CHAT_PATH = "/v1/chat/completions"
_TAIL = 8192
"""Bytes of a stream's end that hold its last events: how it ended, what it used, an error."""

_NO_LIMIT = aiohttp.ClientTimeout(total=None)


@dataclass(frozen=True)
class Target:
    """An OpenAI-compatible endpoint; `url` without `/v1`."""

    url: str
    model: str
    api_key: str = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """Sent with each request besides the key: Modal's proxy tokens."""

    def all_headers(self) -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {**self.headers, **bearer}


@dataclass(frozen=True)
class Exchange:
    """Times in seconds of one clock (time.perf_counter)."""

    sent: float
    ended: float
    first: float | None = None
    """When the first piece of text came: reasoning, content or a tool call."""
    prompt_tokens: int = 0
    tokens: int = 0
    """Of the answer, as the server counts them; several come in one piece where drafts are accepted."""
    error: str = ""
    """Why there is no whole answer, in few words that many requests share; empty where there is one."""

    @property
    def time_to_first_token(self) -> float | None:
        return None if self.first is None else self.first - self.sent

    @property
    def time_per_output_token(self) -> float | None:
        """Between tokens, once the first one is there; None for an answer of one token."""
        if self.first is None or self.tokens < 2:
            return None
        return (self.ended - self.first) / (self.tokens - 1)


def body_of(target: Target, prompt: str, tokens: int) -> bytes:
    """Asks for exactly `tokens`, which both engines grant, and for their count at the stream's end."""
    document = {
        "model": target.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(document).encode()


async def ask(session: aiohttp.ClientSession, target: Target, body: bytes, patience: float) -> Exchange:
    """Never raises for what an endpoint or a network does: that is the exchange's `error`."""
    headers = {"Content-Type": "application/json", **target.all_headers()}
    first: float | None = None
    tail = b""
    sent = last = time.perf_counter()
    try:
        # aiohttp's own limit is looked at with each piece.
        async with (
            asyncio.timeout(patience),
            session.post(target.url + CHAT_PATH, data=body, headers=headers, timeout=_NO_LIMIT) as answer,
        ):
            if answer.status != 200:
                await answer.read()
                return Exchange(sent, time.perf_counter(), error=f"HTTP {answer.status}")
            # Thousands of pieces a second: only their arrival is noted. What is parsed is the beginning, up to the
            # first text, and the end.
            while piece := await answer.content.readany():
                last = time.perf_counter()
                tail = (tail + piece)[-_TAIL:]
                if first is None and any(map(_has_text, events(tail))):
                    first = last
    except TimeoutError:
        return Exchange(sent, time.perf_counter(), first, error=f"no answer within {patience:g} s")
    except aiohttp.ClientError as error:
        return Exchange(sent, time.perf_counter(), first, error=type(error).__name__)
    prompt_tokens, tokens, problem = _end_of(tail)
    if not problem and first is None:
        problem = "no text"
    return Exchange(sent, last, first, prompt_tokens, tokens, problem)


def events(part: bytes) -> Iterator[dict[str, Any]]:
    """The whole events in a part of a stream."""
    for line in part.split(b"\n"):
        if line.startswith(b"data: {"):
            try:
                event = json.loads(line[6:])
            except ValueError:
                continue  # its end has not come yet
            yield event


def _has_text(event: dict[str, Any]) -> bool:
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if any(delta.get(name) for name in ("content", "reasoning_content", "reasoning", "tool_calls")):
            return True
    return False


def _end_of(tail: bytes) -> tuple[int, int, str]:
    """Prompt tokens, answer tokens, and what is wrong with how the stream ended."""
    usage: dict[str, Any] = {}
    # Of dozens of events in the tail two say something: to parse all costs more than to receive them.
    telling = [line for line in tail.split(b"\n") if b'"error"' in line or b'"completion_tokens"' in line]
    for event in events(b"\n".join(telling)):
        if "error" in event:
            return 0, 0, "error in the stream"
        usage = event.get("usage") or usage
    if b"data: [DONE]" not in tail:
        return 0, 0, "broke off"
    if not usage.get("completion_tokens"):
        return 0, 0, "no usage"
    return int(usage.get("prompt_tokens", 0)), int(usage["completion_tokens"]), ""


async def wait_until_it_answers(session: aiohttp.ClientSession, target: Target, patience: float) -> Exchange:
    """One short answer: a stack at zero starts a replica for it. 503 is how an ingress says that none is up yet."""
    deadline = time.perf_counter() + patience
    while True:
        found = await ask(session, target, body_of(target, "What is 2+2?", 8), max(1.0, deadline - time.perf_counter()))
        if found.error not in ("HTTP 503", "HTTP 502") or time.perf_counter() > deadline:
            return found
        await asyncio.sleep(2)
