"""Requests that come at a rate of their own, as those of many clients do."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import aiohttp


class Arrivals:
    """So many requests a second of a `WebApp`, whether or not earlier ones have been answered; keeps what came of each.
    Leaving it waits for the last answer."""

    def __init__(self, url: str, per_second: int) -> None:
        self.url, self.per_second = url, per_second
        self.codes: list[int | str] = []
        self.versions: list[str] = []
        self.tasks: set[str] = set()
        """Containers that answered."""
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        began = time.monotonic()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for number in itertools.count(1):
                if self._over.is_set():
                    break
                group.create_task(self._ask(session))
                await asyncio.sleep(began + number / self.per_second - time.monotonic())
            self.seconds = time.monotonic() - began

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        try:
            async with session.get(self.url) as response:
                self.codes.append(response.status)
                if response.status == 200:
                    answer = await response.json()
                    self.versions.append(answer["version"])
                    self.tasks.add(answer["task"])
        except aiohttp.ClientError as error:
            self.codes.append(repr(error))
