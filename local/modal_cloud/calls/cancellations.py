"""Inputs that containers have to stop working on; fetched with their heartbeats."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Cancellations:
    def __init__(self) -> None:
        self._pending: dict[str, list[str]] = {}
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def add(self, task_id: str, input_id: str) -> None:
        self._pending.setdefault(task_id, []).append(input_id)
        self._changed[task_id].set()

    async def next(self, task_id: str, seconds: float) -> list[str]:
        """Input ids, each handed out once; waits for some, at most so long."""
        if task_id not in self._pending:
            try:
                await asyncio.wait_for(self._changed[task_id].wait(), seconds)
            except TimeoutError:
                return []
        self._changed[task_id].clear()
        return self._pending.pop(task_id, [])

    def forget(self, task_id: str) -> None:
        self._pending.pop(task_id, None)
        self._changed.pop(task_id, None)
