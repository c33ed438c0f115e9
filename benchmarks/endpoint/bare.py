"""The least that a streaming client can do: asyncio alone, each stream read to its end and nothing looked at twice."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from benchmarks.endpoint.exchange import CHAT_PATH, Target, body_of

_END = b"\r\n0\r\n\r\n"
"""Of a chunked answer."""
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')


async def one_stream(target: Target, body: bytes) -> int:
    """Tokens of the answer. Raises OSError, or RuntimeError for an answer that is none. Plain HTTP only."""
    place = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = (
        f"POST {CHAT_PATH} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {target.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        writer.write(head.encode() + body)
        tail = b""
        while piece := await reader.read(2**16):
            tail = (tail + piece)[-2048:]
            if tail.endswith(_END):
                break
    finally:
        writer.close()
    found = _TOKENS.search(tail)
    if found is None:
        raise RuntimeError(f"no whole answer: {tail[:200]!r}")
    return int(found[1])


async def tokens_per_second(
    target: Target, prompts: Iterator[str], *, tokens: int, streams: int, seconds: float
) -> float:
    """Closed loop as in benchmarks.endpoint.level: no stream begins after `seconds`, those under way are waited for."""
    total = 0
    began = time.perf_counter()

    async def stream() -> None:
        nonlocal total
        while time.perf_counter() < began + seconds:
            got = await one_stream(target, body_of(target, next(prompts), tokens))
            total += got  # not in one line: what is added to would be read before the wait

    await asyncio.gather(*(stream() for _ in range(streams)))
    return total / (time.perf_counter() - began)
