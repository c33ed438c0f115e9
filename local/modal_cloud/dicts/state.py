from __future__ import annotations

from collections.abc import Iterator

from local.modal_cloud.clock import now
from local.modal_cloud.ids import new_id
from local.modal_cloud.naming import is_anonymous, must_create
from local.modal_cloud.records import Dict
from local.modal_cloud.store import Store, Table

Entry = tuple[bytes, bytes]


class Dicts:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = Table(store, "dicts", Dict)
        store.execute(
            "CREATE TABLE IF NOT EXISTS dict_entries (dict_id TEXT, key BLOB, value BLOB, PRIMARY KEY (dict_id, key))"
        )

    def get(self, dict_id: str) -> Dict:
        return self._table.get(dict_id)

    def get_or_create(self, environment: str, name: str, creation_type: int, data: list[Entry]) -> Dict:
        found = None
        if not is_anonymous(creation_type):
            found = next((record for record in self.named(environment) if record.name == name), None)
            if not must_create(found, creation_type, "Dict", name, environment) and found is not None:
                return found
        with self._store.transaction():
            if found is not None:
                self.delete(found.id)
            record = self._table.save(
                Dict(
                    id=new_id("di"),
                    environment=environment,
                    name="" if is_anonymous(creation_type) else name,
                    created_at=now(),
                )
            )
            self.update(record.id, data, if_not_exists=False)
        return record

    def all(self) -> list[Dict]:
        """In order of creation, ephemeral ones included."""
        return self._table.all()

    def named(self, environment: str) -> list[Dict]:
        return self._table.where(lambda record: record.environment == environment and bool(record.name))

    def value(self, dict_id: str, key: bytes) -> bytes | None:
        self.get(dict_id)
        row = self._store.execute(
            "SELECT value FROM dict_entries WHERE dict_id = ? AND key = ?", dict_id, key
        ).fetchone()
        return None if row is None else row[0]

    def pop(self, dict_id: str, key: bytes) -> bytes | None:
        self.get(dict_id)
        row = self._store.execute(
            "DELETE FROM dict_entries WHERE dict_id = ? AND key = ? RETURNING value", dict_id, key
        ).fetchone()
        return None if row is None else row[0]

    def update(self, dict_id: str, entries: list[Entry], if_not_exists: bool) -> bool:
        """Sets all entries in one step. With `if_not_exists` keys that exist keep their value, and False says that
        there was one. Otherwise always True."""
        self.get(dict_id)
        verb = "INSERT OR IGNORE" if if_not_exists else "INSERT OR REPLACE"
        written = 0
        with self._store.transaction():
            for key, value in entries:
                cursor = self._store.execute(
                    f"{verb} INTO dict_entries (dict_id, key, value) VALUES (?, ?, ?)", dict_id, key, value
                )
                written += cursor.rowcount
        return written == len(entries) if if_not_exists else True

    def length(self, dict_id: str) -> int:
        self.get(dict_id)
        return self._store.execute("SELECT count(*) FROM dict_entries WHERE dict_id = ?", dict_id).fetchone()[0]

    def entries(self, dict_id: str) -> Iterator[Entry]:
        """A snapshot."""
        self.get(dict_id)
        yield from self._store.execute("SELECT key, value FROM dict_entries WHERE dict_id = ?", dict_id).fetchall()

    def clear(self, dict_id: str) -> None:
        self.get(dict_id)
        self._store.execute("DELETE FROM dict_entries WHERE dict_id = ?", dict_id)

    def delete(self, dict_id: str) -> None:
        with self._store.transaction():
            self.clear(dict_id)
            self._table.delete(dict_id)

    def heartbeat(self, dict_id: str) -> None:
        record = self.get(dict_id)
        record.heartbeat_at = now()
        self._table.save(record)
