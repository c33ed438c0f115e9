from __future__ import annotations

from local.modal_cloud.clock import now
from local.modal_cloud.errors import AlreadyExists, FailedPrecondition, NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import Environment
from local.modal_cloud.store import Store, Table

DEFAULT = "main"


class Environments:
    def __init__(self, store: Store) -> None:
        self._table = Table(store, "environments", Environment)
        if self._by_name(DEFAULT) is None:
            self.create(DEFAULT)

    def resolve(self, name: str) -> str:
        """The environment's name; empty means the default. Raises NotFound."""
        return self.get(name).name

    def get(self, name: str) -> Environment:
        found = self._by_name(name or DEFAULT)
        if found is None:
            raise NotFound(f"Environment '{name}' not found: modal environment create {name}")
        return found

    def find(self, name: str) -> Environment | None:
        return self._by_name(name or DEFAULT)

    def create(self, name: str) -> Environment:
        if self._by_name(name) is not None:
            raise AlreadyExists(f"Environment '{name}' already exists")
        return self._table.save(Environment(id=new_id("en"), name=name, created_at=now()))

    def delete(self, name: str) -> None:
        """The caller makes sure that nothing is left in it."""
        if name == DEFAULT:
            raise FailedPrecondition(f"Environment '{name}' is the default and can't be deleted")
        self._table.delete(self.get(name).id)

    def all(self) -> list[Environment]:
        return self._table.all()

    def _by_name(self, name: str) -> Environment | None:
        return next(iter(self._table.where(lambda environment: environment.name == name)), None)
