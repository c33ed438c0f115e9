"""Inputs waiting for a container, first come first served per function."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque

from local.modal_cloud.records import Input


class InputQueue:
    def __init__(self) -> None:
        self._queues: dict[str, deque[Input]] = defaultdict(deque)
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def push(self, item: Input, front: bool = False) -> None:
        queue = self._queues[item.function_id]
        queue.appendleft(item) if front else queue.append(item)
        self.wake(item.function_id)

    def pop(self, function_id: str) -> Input | None:
        queue = self._queues[function_id]
        return queue.popleft() if queue else None

    def remove(self, item: Input) -> None:
        queue = self._queues[item.function_id]
        self._queues[item.function_id] = deque(other for other in queue if other is not item)

    def length(self, function_id: str) -> int:
        return len(self._queues[function_id])

    def items(self, function_id: str) -> list[Input]:
        return list(self._queues[function_id])

    async def wait(self, function_id: str, seconds: float) -> None:
        """Until something is pushed or `wake` is called, at most so long."""
        changed = self._changed[function_id]
        try:
            await asyncio.wait_for(changed.wait(), seconds)
        except TimeoutError:
            return

    def wake(self, function_id: str) -> None:
        self._changed[function_id].set()
        self._changed[function_id] = asyncio.Event()
