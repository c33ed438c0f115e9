"""State in SQLite: every table of records in memory, written through before anyone is told.

WAL without fsync per commit: a killed process loses nothing, a power cut at most the last moments.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from local.modal_cloud.codec import decode, encode
from local.modal_cloud.errors import NotFound

R = TypeVar("R")


class Store:
    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=True)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._depth = 0

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing on disk; nests. Memory is not rolled back: don't raise halfway after changing a record."""
        if self._depth == 0:
            self._connection.execute("BEGIN")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("ROLLBACK")
            raise
        self._depth -= 1
        if self._depth == 0:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class Table(Generic[R]):
    """Records of one type by id, all in memory. `name` is the SQL table; `noun` is what error messages call one."""

    def __init__(self, store: Store, name: str, record_type: type[R], noun: str = "") -> None:
        self._store = store
        self._name = name
        self._noun = noun or record_type.__name__
        store.execute(f"CREATE TABLE IF NOT EXISTS {name} (id TEXT PRIMARY KEY, body BLOB NOT NULL)")
        rows = store.execute(f"SELECT id, body FROM {name} ORDER BY rowid")
        self._records: dict[str, R] = {row_id: decode(record_type, body) for row_id, body in rows}

    def save(self, record: R) -> R:
        record_id: str = record.id  # type: ignore[attr-defined]
        self._store.execute(
            f"INSERT INTO {self._name} (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            record_id,
            encode(record),
        )
        self._records[record_id] = record
        return record

    def delete(self, record_id: str) -> None:
        self._store.execute(f"DELETE FROM {self._name} WHERE id = ?", record_id)
        self._records.pop(record_id, None)

    def find(self, record_id: str) -> R | None:
        return self._records.get(record_id)

    def get(self, record_id: str) -> R:
        """Raises NotFound, naming the kind and the id."""
        record = self._records.get(record_id)
        if record is None:
            raise NotFound(f"{self._noun} '{record_id}' not found")
        return record

    def all(self) -> list[R]:
        """In order of creation."""
        return list(self._records.values())

    def where(self, condition: Callable[[R], bool]) -> list[R]:
        return [record for record in self._records.values() if condition(record)]
