"""Requests to a server and how long they took. Standard library only, one thread per stream."""

from __future__ import annotations

import http.client
import json
import math
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from serving.loopback import HOST
from serving.warmup import CHAT_PATH, prompt_of

_OUTPUT_TOKENS = 128
_PROMPT_TOKENS = 256
_NEWS = (b'"usage":{', b'"usage": {', b'"finish_reason":"', b'"finish_reason": "', b'"error"')


@dataclass(frozen=True)
class Target:
    """A server on this machine."""

    port: int
    model: str
    api_key: str = ""


@dataclass(frozen=True)
class Timing:
    """Seconds, from sending the request."""

    first: float
    """To the first piece of the answer."""
    total: float
    tokens: int
    """Of the answer, as the server counts them."""

    @property
    def per_token(self) -> float:
        """Between tokens, once the first one is there."""
        return (self.total - self.first) / max(1, self.tokens - 1)


class FailedRequest(Exception):
    """Status and body, or what became of the connection."""


def ask(target: Target, tokens: int, answer: int, seed: int, timeout: float = 120) -> Timing:
    """One streamed chat of about `tokens` tokens, answered with `answer` of them. Raises FailedRequest."""
    # A prompt that nobody has sent before: the prefix cache would answer for the engine.
    prompt = f"{seed} {prompt_of(tokens)}"
    payload = {
        "model": target.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": answer,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Content-Type": "application/json"}
    if target.api_key:
        headers["Authorization"] = f"Bearer {target.api_key}"
    connection = http.client.HTTPConnection(HOST, target.port, timeout=timeout)
    began = time.perf_counter()
    first, counted = math.nan, 0
    try:
        connection.request("POST", CHAT_PATH, json.dumps(payload).encode(), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise FailedRequest(f"HTTP {response.status}: {response.read()[:300]!r}")
        ended = whole = False
        while line := response.readline():
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                ended = True
                break
            # Of thousands of pieces a second only those are read that say something: the client must not be the limit.
            if not (math.isnan(first) or any(mark in line for mark in _NEWS)):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise FailedRequest(str(event)[:300])
            if math.isnan(first) and any(_has_text(choice) for choice in event.get("choices", ())):
                first = time.perf_counter() - began
            whole = whole or any(c.get("finish_reason") in ("length", "stop") for c in event.get("choices", ()))
            if event.get("usage"):
                counted = int(event["usage"]["completion_tokens"])
        if not (ended and whole and counted):
            raise FailedRequest(f"the answer broke off: {counted} of {answer} tokens, ended: {ended}, whole: {whole}")
    except (OSError, http.client.HTTPException) as error:
        raise FailedRequest(f"{type(error).__name__}: {error}") from None
    finally:
        connection.close()
    return Timing(first, time.perf_counter() - began, counted)


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta", {})
    return bool(delta.get("content") or delta.get("reasoning_content"))


def mixed_sizes(count: int = 50, longest: int = 6000) -> list[int]:
    """Prompt sizes in tokens from 16 to `longest`, evenly spread over the orders of magnitude, in a fixed disorder."""
    spread = random.Random(50)
    return [round(math.exp(spread.uniform(math.log(16), math.log(longest)))) for _ in range(count)]


def one_after_the_other(target: Target, sizes: list[int], seed: int) -> list[float]:
    """Seconds that each of these requests took, 16 tokens of answer each."""
    return [round(ask(target, size, 16, seed + i).total, 4) for i, size in enumerate(sizes)]


def all_at_once(target: Target, sizes: list[int], seed: int) -> float:
    """Seconds until the last of these requests, sent together, was answered."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(sizes)) as pool:
        list(pool.map(lambda pair: ask(target, pair[1], 16, seed + pair[0]), enumerate(sizes)))
    return round(time.perf_counter() - began, 3)


def streams(target: Target, count: int, rounds: int, seed: int) -> dict[str, float]:
    """`count` clients, each with `rounds` requests back to back. Milliseconds (medians), tokens per second in all."""
    timings: list[Timing] = []
    barrier = threading.Barrier(count)

    def client(number: int) -> None:
        barrier.wait()
        for turn in range(rounds):
            timings.append(ask(target, _PROMPT_TOKENS, _OUTPUT_TOKENS, seed + number * rounds + turn))

    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(client, range(count)))
    seconds = time.perf_counter() - began
    return {
        "ttft_ms": round(1000 * statistics.median(t.first for t in timings), 2),
        "tpot_ms": round(1000 * statistics.median(t.per_token for t in timings), 4),
        "tokens_per_second": round(sum(t.tokens for t in timings) / seconds, 1),
    }
