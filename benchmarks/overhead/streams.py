"""Streamed answers, timed."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.overhead.stack import Server
from serving.warmup import prompt_of

PROMPT_TOKENS = 4000
"""About: a conversation's usual size. The stand-in reads it in 10 ms."""
PROMPT = prompt_of(PROMPT_TOKENS)


@dataclass(frozen=True)
class Timing:
    first: float
    """Seconds from sending the request to the first piece of text."""
    rate: float
    """Tokens per second from the first piece to the last."""


def stream(server: Server, tokens: int) -> Timing:
    """One streamed text completion of exactly so many tokens. Raises RuntimeError where the server refuses."""
    body = {
        "model": server.model,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"HTTP {response.status}: {response.read()[:200]!r}")
    times: list[float] = []
    generated = 0
    for line in response:
        if line.startswith(b"data: {"):
            if b'"usage":{' in line:
                generated = json.loads(line[6:])["usage"]["completion_tokens"]
            else:
                times.append(time.perf_counter())
    connection.close()
    if generated != tokens:
        raise RuntimeError(f"asked for {tokens} tokens, got {generated}")
    # How many tokens a piece has differs: the first one's share of them is counted as one step's.
    return Timing(times[0] - began, generated * (1 - 1 / len(times)) / (times[-1] - times[0]))


def burst(server: Server, tokens: int, streams: int) -> list[Timing]:
    """So many streams at once."""
    if streams == 1:
        return [stream(server, tokens)]
    with ThreadPoolExecutor(streams) as pool:
        return list(pool.map(lambda _: stream(server, tokens), range(streams)))
