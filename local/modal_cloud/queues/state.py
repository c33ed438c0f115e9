from __future__ import annotations

import asyncio
from collections import defaultdict

from local.modal_cloud.clock import now
from local.modal_cloud.errors import Invalid, ResourceExhausted
from local.modal_cloud.ids import new_id
from local.modal_cloud.naming import is_anonymous, must_create
from local.modal_cloud.records import Queue
from local.modal_cloud.store import Store, Table

PARTITION_ITEMS = 5000
ITEM_BYTES = 1 << 20
"""Modal's limits (modal.com/docs/guide/queues)."""
ABANDONED_AFTER = 900.0
"""Seconds without a heartbeat (every 300 s) after which an ephemeral queue goes."""

Item = tuple[int, bytes]
"""Position and value."""


class Queues:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = Table(store, "queues", Queue)
        store.execute(
            "CREATE TABLE IF NOT EXISTS queue_items (position INTEGER PRIMARY KEY AUTOINCREMENT, queue_id TEXT,"
            " partition BLOB, value BLOB)"
        )
        store.execute(
            "CREATE TABLE IF NOT EXISTS queue_partitions (queue_id TEXT, partition BLOB, expires_at REAL,"
            " PRIMARY KEY (queue_id, partition))"
        )
        store.execute("CREATE INDEX IF NOT EXISTS queue_order ON queue_items (queue_id, partition, position)")
        self._arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        for queue in self._table.where(lambda queue: not queue.name):
            if (queue.heartbeat_at or queue.created_at) < now() - ABANDONED_AFTER:
                self.delete(queue.id)

    def get(self, queue_id: str) -> Queue:
        return self._table.get(queue_id)

    def get_or_create(self, environment: str, name: str, creation_type: int) -> Queue:
        found = None
        if not is_anonymous(creation_type):
            found = next((queue for queue in self.named(environment) if queue.name == name), None)
            if not must_create(found, creation_type, "Queue", name, environment) and found is not None:
                return found
        with self._store.transaction():
            if found is not None:
                self.delete(found.id)
            return self._table.save(
                Queue(
                    id=new_id("qu"),
                    environment=environment,
                    name="" if is_anonymous(creation_type) else name,
                    created_at=now(),
                )
            )

    def all(self) -> list[Queue]:
        """Ephemeral ones, which have no name, too."""
        return self._table.all()

    def named(self, environment: str) -> list[Queue]:
        return self._table.where(lambda queue: queue.environment == environment and bool(queue.name))

    def put(self, queue_id: str, partition: bytes, values: list[bytes], kept_seconds: int) -> None:
        """All or none. Raises ResourceExhausted for a partition that has no room for them (callers wait and try
        again), Invalid for a value that is too large."""
        self.get(queue_id)
        largest = max((len(value) for value in values), default=0)
        if largest > ITEM_BYTES:
            raise Invalid(f"Queue item of {largest} bytes is larger than {ITEM_BYTES} bytes")
        self._expire(queue_id)
        if self.length(queue_id, partition) + len(values) > PARTITION_ITEMS:
            raise ResourceExhausted(f"Queue partition is full: it holds at most {PARTITION_ITEMS} items")
        with self._store.transaction():
            self._store.execute(
                "INSERT OR REPLACE INTO queue_partitions (queue_id, partition, expires_at) VALUES (?, ?, ?)",
                queue_id,
                partition,
                now() + kept_seconds,
            )
            for value in values:
                self._store.execute(
                    "INSERT INTO queue_items (queue_id, partition, value) VALUES (?, ?, ?)", queue_id, partition, value
                )
        self._arrived.pop(queue_id, asyncio.Event()).set()

    async def take(self, queue_id: str, partition: bytes, most: int, seconds: float) -> list[bytes]:
        """Removes and returns up to `most` values; waits for the first, at most so long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            found = self._first(queue_id, partition, most)
            if found:
                with self._store.transaction():
                    for position, _ in found:
                        self._store.execute("DELETE FROM queue_items WHERE position = ?", position)
                return [value for _, value in found]
            if not await self._arrival(queue_id, deadline):
                return []

    async def after(self, queue_id: str, partition: bytes, position: int, seconds: float) -> list[Item]:
        """Values behind a position, which stay; waits for the first, at most so long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not (found := self._first(queue_id, partition, 100, position)):
            if not await self._arrival(queue_id, deadline):
                return []
        return found

    def length(self, queue_id: str, partition: bytes | None) -> int:
        """Of one partition; None: of all."""
        self.get(queue_id)
        self._expire(queue_id)
        if partition is None:
            return self._store.execute("SELECT count(*) FROM queue_items WHERE queue_id = ?", queue_id).fetchone()[0]
        return self._store.execute(
            "SELECT count(*) FROM queue_items WHERE queue_id = ? AND partition = ?", queue_id, partition
        ).fetchone()[0]

    def partitions(self, queue_id: str) -> int:
        """How many of them hold something."""
        return self._store.execute(
            "SELECT count(DISTINCT partition) FROM queue_items WHERE queue_id = ?", queue_id
        ).fetchone()[0]

    def clear(self, queue_id: str, partition: bytes | None) -> None:
        """One partition; None: all."""
        self.get(queue_id)
        with self._store.transaction():
            for table in ("queue_items", "queue_partitions"):
                if partition is None:
                    self._store.execute(f"DELETE FROM {table} WHERE queue_id = ?", queue_id)
                else:
                    self._store.execute(
                        f"DELETE FROM {table} WHERE queue_id = ? AND partition = ?", queue_id, partition
                    )

    def delete(self, queue_id: str) -> None:
        with self._store.transaction():
            self.clear(queue_id, None)
            self._table.delete(queue_id)
        self._arrived.pop(queue_id, asyncio.Event()).set()

    def heartbeat(self, queue_id: str) -> None:
        queue = self.get(queue_id)
        queue.heartbeat_at = now()
        self._table.save(queue)

    def _first(self, queue_id: str, partition: bytes, most: int, behind: int = 0) -> list[Item]:
        self.get(queue_id)
        self._expire(queue_id)
        return self._store.execute(
            "SELECT position, value FROM queue_items WHERE queue_id = ? AND partition = ? AND position > ?"
            " ORDER BY position LIMIT ?",
            queue_id,
            partition,
            behind,
            most,
        ).fetchall()

    def _expire(self, queue_id: str) -> None:
        """Partitions that nothing was put into for longer than was asked for lose what they hold."""
        expired = self._store.execute(
            "SELECT partition FROM queue_partitions WHERE queue_id = ? AND expires_at < ?", queue_id, now()
        ).fetchall()
        for (partition,) in expired:
            self.clear(queue_id, partition)

    async def _arrival(self, queue_id: str, deadline: float) -> bool:
        """Something was put in; False: not in time."""
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        try:
            await asyncio.wait_for(self._arrived[queue_id].wait(), left)
        except TimeoutError:
            return False
        return True
