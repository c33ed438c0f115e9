"""One level of a sweep: so many streams at once, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from benchmarks.endpoint.exchange import Exchange, Target, ask, body_of

_PAUSE_AFTER_ERROR = 0.2
"""Seconds: an endpoint that refuses at once is not to be flooded."""


@dataclass(frozen=True)
class Level:
    streams: int
    began: float
    until: float
    """No request began later; those under way were waited for."""
    exchanges: list[Exchange]

    @property
    def tokens_per_second(self) -> float:
        """Of whole answers, between `began` and `until`: of a request under way at the end, the share that had come,
        taken as evenly spread between its first and its last token."""
        return sum(self._share(found) for found in self.exchanges if not found.error) / (self.until - self.began)

    def _share(self, found: Exchange) -> float:
        if found.first is None or found.first >= self.until:
            return 0.0
        if found.ended <= self.until:
            return found.tokens
        return found.tokens * (self.until - found.first) / (found.ended - found.first)


async def run_level(
    session: aiohttp.ClientSession,
    target: Target,
    prompts: Iterator[str],
    *,
    tokens: int,
    streams: int,
    seconds: float,
    patience: float,
) -> Level:
    """`tokens` of answer each; a request takes `patience` seconds at most."""
    exchanges: list[Exchange] = []
    began = time.perf_counter()
    until = began + seconds

    async def stream() -> None:
        while time.perf_counter() < until:
            found = await ask(session, target, body_of(target, next(prompts), tokens), patience)
            exchanges.append(found)
            if found.error:
                await asyncio.sleep(_PAUSE_AFTER_ERROR)

    await asyncio.gather(*(stream() for _ in range(streams)))
    return Level(streams, began, until, exchanges)


def open_session() -> aiohttp.ClientSession:
    """As many connections as streams; proxies as the environment names them."""
    # Where it names none, looking for one takes two turns of a thread for each request.
    proxied = any(os.environ.get(name) for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"))
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=proxied, read_bufsize=2**18)
