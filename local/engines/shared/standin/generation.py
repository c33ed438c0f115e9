"""One HTTP request's generations: runs its choices through the scheduler, measured by the engine's own meter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from standin.chat import Plan
from standin.engine_client import EngineClient


class EngineDead(Exception):
    """The scheduler's process has ended; nothing more will come."""


class Meter(Protocol):
    """Times in seconds; `first_token` and `ended` count from the request's arrival."""

    def first_token(self, prompt: int, seconds: float) -> None: ...

    def between(self, seconds: float, tokens: int) -> None: ...

    def ended(self, prompt: int, plan: Plan, seconds: float) -> None: ...

    def aborted(self) -> None: ...


class ClientGone(ConnectionError):
    """The client left before its answer was complete."""


class Generation:
    def __init__(
        self,
        client: EngineClient,
        meter: Meter,
        request_id: str,
        prompt: int,
        plans: list[Plan],
        external: bool,
        gone: Callable[[], bool],
    ) -> None:
        self.id = request_id
        self.prompt = prompt
        self.plans = plans
        self._client = client
        self._meter = meter
        self._external = external
        self._gone = gone

    async def finish(self) -> None:
        """Until all choices are generated. Raises ClientGone."""
        async for _ in self.steps():
            pass

    async def steps(self) -> AsyncGenerator[tuple[int, int], None]:
        """(index of the choice, tokens it got), in the order in which they come. Raises ClientGone and EngineDead."""
        queue: asyncio.Queue[tuple[int, int] | Exception] = asyncio.Queue()
        tasks = [asyncio.create_task(self._run(index, plan, queue)) for index, plan in enumerate(self.plans)]
        missing = sum(plan.completion_tokens for plan in self.plans)
        try:
            while missing:
                try:
                    async with asyncio.timeout(0.25):
                        item = await queue.get()
                except TimeoutError:
                    if self._gone():
                        self._meter.aborted()
                        raise ClientGone from None
                    continue
                if isinstance(item, Exception):
                    raise item
                index, count = item
                missing -= count
                yield index, count
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, index: int, plan: Plan, queue: asyncio.Queue[tuple[int, int] | Exception]) -> None:
        try:
            await self._measure(index, plan, queue)
        except EngineDead as error:
            queue.put_nowait(error)

    async def _measure(self, index: int, plan: Plan, queue: asyncio.Queue[tuple[int, int] | Exception]) -> None:
        started = last = time.monotonic()
        first = True
        total = plan.completion_tokens
        done = 0
        async for count in self._client.generate(self.id, self.prompt, total, self._external):
            now = time.monotonic()
            if first:
                self._meter.first_token(self.prompt, now - started)
                first = False
            else:
                self._meter.between(now - last, count)
            last = now
            done += count
            if done >= total:
                self._meter.ended(self.prompt, plan, now - started)
            queue.put_nowait((index, count))
