"""The last RPCs: who asked what, how long it took and how it ended. Requests and answers themselves are not kept, nor
what an error says: a secret may be in them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from dataclasses import dataclass

KEPT = 5000


@dataclass(frozen=True, slots=True)
class Exchange:
    number: int
    """Rises by one with each; what a reader resumes after."""
    at: float
    """Unix seconds of the machine's clock at which it came."""
    task_id: str
    """The calling container; empty for a client."""
    rpc: str
    milliseconds: float
    """Until its answer was sent. Of a stream, and of a call that waits for something, that includes the waiting."""
    status: str
    """Name of a gRPC status, DROPPED (an ordered fault cut the connection) or GONE (the caller did)."""


class Trace:
    def __init__(self) -> None:
        self._kept: deque[Exchange] = deque(maxlen=KEPT)
        self._numbers = itertools.count(1)
        self._more = asyncio.Event()
        self.life = time.time_ns()
        """Differs from that of the cloud's process before."""
        self.statuses: Counter[str] = Counter()
        """How often each status was the answer, since the start."""

    def record(self, task_id: str, rpc: str, began: float, seconds: float, status: str) -> None:
        self.statuses[status] += 1
        self._kept.append(Exchange(next(self._numbers), began, task_id, rpc, seconds * 1e3, status))
        self._more.set()

    def after(self, number: int) -> list[Exchange]:
        """Those that came to their end later than that one and are still kept, oldest first."""
        if not self._kept or self._kept[-1].number == number:
            return []
        if self._kept[-1].number < number:
            number = 0  # the reader knew another life
        first = self._kept[0].number
        return list(itertools.islice(self._kept, max(0, number + 1 - first), None))

    async def wait(self, number: int, seconds: float) -> list[Exchange]:
        """The same, but where there are none the next ones, waiting at most so long."""
        deadline = time.monotonic() + seconds
        while not (found := self.after(number)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), left)
            except TimeoutError:
                break
        return found
