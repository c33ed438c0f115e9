from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.modal_cloud.clock import now
from local.modal_cloud.store import Store

KEPT_SECONDS = 30 * 86400

Attribution = Callable[[str], tuple[str, str, str, str]]
"""task id → (app id, function id, call id, input id); the last two empty unless one single input runs there."""


@dataclass(frozen=True)
class LogFilter:
    """Empty fields match everything."""

    app_id: str = ""
    function_id: str = ""
    task_id: str = ""
    call_id: str = ""
    input_id: str = ""
    descriptor: int = 0
    text: str = ""

    def where(self) -> tuple[str, list[Any]]:
        columns = {
            "app_id": self.app_id,
            "function_id": self.function_id,
            "task_id": self.task_id,
            "call_id": self.call_id,
            "input_id": self.input_id,
            "descriptor": self.descriptor,
        }
        wanted = {column: value for column, value in columns.items() if value}
        clauses = [f"{column} = ?" for column in wanted]
        values: list[Any] = list(wanted.values())
        if self.text:
            clauses.append("instr(data, ?) > 0")
            values.append(self.text)
        return " AND ".join(clauses) or "1", values


@dataclass(frozen=True)
class LogEntry:
    number: int
    """Rises with time; what a stream resumes after."""
    task_id: str
    function_id: str
    call_id: str
    input_id: str
    descriptor: int
    at: float
    data: str


_COLUMNS = "number, task_id, function_id, call_id, input_id, descriptor, at, data"


class Logs:
    def __init__(self, store: Store, attribution: Attribution) -> None:
        self._store = store
        self._attribution = attribution
        self._changed = asyncio.Event()
        store.execute(
            "CREATE TABLE IF NOT EXISTS logs (number INTEGER PRIMARY KEY AUTOINCREMENT, app_id TEXT, task_id TEXT,"
            " function_id TEXT, call_id TEXT, input_id TEXT, descriptor INTEGER, at REAL, data TEXT)"
        )
        store.execute("CREATE INDEX IF NOT EXISTS logs_by_app ON logs (app_id, at)")
        store.execute("DELETE FROM logs WHERE at < ?", now() - KEPT_SECONDS)

    def append(self, task_id: str, descriptor: int, text: str) -> None:
        if not text:
            return
        app_id, function_id, call_id, input_id = self._attribution(task_id)
        self._store.execute(
            "INSERT INTO logs (app_id, task_id, function_id, call_id, input_id, descriptor, at, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(app_id, task_id, function_id, call_id, input_id, descriptor, now(), text),
        )
        self.wake()

    def after(self, number: int, matching: LogFilter, limit: int) -> list[LogEntry]:
        """In order of time."""
        where, values = matching.where()
        return self._select(f"number > ? AND {where} ORDER BY number LIMIT ?", number, *values, limit)

    def between(self, since: float, until: float, matching: LogFilter, limit: int) -> list[LogEntry]:
        """The latest `limit` ones, in order of time."""
        where, values = matching.where()
        latest = self._select(
            f"at >= ? AND at < ? AND {where} ORDER BY number DESC LIMIT ?", since, until, *values, limit
        )
        return latest[::-1]

    def count(self, since: float, until: float, bucket: int, matching: LogFilter) -> dict[tuple[int, int], int]:
        """(start of the bucket, descriptor) → entries."""
        where, values = matching.where()
        rows = self._store.execute(
            f"SELECT CAST(at / {bucket:d} AS INTEGER) * {bucket:d}, descriptor, count(*) FROM logs"
            f" WHERE at >= ? AND at < ? AND {where} GROUP BY 1, 2",
            *(since, until, *values),
        )
        return {(start, descriptor): count for start, descriptor, count in rows}

    def last_number(self) -> int:
        return self._store.execute("SELECT coalesce(max(number), 0) FROM logs").fetchone()[0]

    async def wait(self, seconds: float) -> None:
        """Until something is appended anywhere or an app ends, at most so long."""
        changed = self._changed
        try:
            await asyncio.wait_for(changed.wait(), seconds)
        except TimeoutError:
            return

    def wake(self) -> None:
        """Lets streams look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _select(self, condition: str, *values: Any) -> list[LogEntry]:
        return [
            LogEntry(*row) for row in self._store.execute(f"SELECT {_COLUMNS} FROM logs WHERE {condition}", *values)
        ]
