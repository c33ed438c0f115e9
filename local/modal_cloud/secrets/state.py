from __future__ import annotations

from collections.abc import Set

from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.naming import is_anonymous, must_create
from local.modal_cloud.records import Secret
from local.modal_cloud.store import Store, Table


class Secrets:
    def __init__(self, store: Store) -> None:
        self._table = Table(store, "secrets", Secret)

    def get(self, secret_id: str) -> Secret:
        return self._table.get(secret_id)

    def get_or_create(
        self,
        environment: str,
        name: str,
        creation_type: int,
        values: dict[str, str],
        required_keys: list[str],
        app_id: str,
    ) -> Secret:
        """Overwriting keeps the id: running apps refer to it. Raises NotFound, also for a required key that is
        missing, and AlreadyExists."""
        if is_anonymous(creation_type):
            return self._create(environment, "", values, app_id or None)
        found = self._by_name(environment, name)
        if not must_create(found, creation_type, "Secret", name, environment) and found is not None:
            missing = sorted(set(required_keys) - set(found.values))
            if missing:
                raise NotFound(f"Secret '{name}' is missing key(s): {', '.join(missing)}")
            return found
        if found is not None:
            found.values = dict(values)
            return self._table.save(found)
        return self._create(environment, name, values, None)

    def update(self, secret_id: str, updates: dict[str, str | None]) -> None:
        """Sets the keys with a value, removes those without one."""
        secret = self.get(secret_id)
        merged = {**secret.values, **updates}
        secret.values = {key: value for key, value in merged.items() if value is not None}
        self._table.save(secret)

    def used(self, secret_id: str) -> Secret:
        """For a container that starts. Raises NotFound."""
        secret = self.get(secret_id)
        secret.last_used_at = now()
        return self._table.save(secret)

    def delete(self, secret_id: str) -> None:
        self._table.delete(self.get(secret_id).id)

    def forget_anonymous(self, used: Set[str]) -> None:
        """Those that no function refers to."""
        for secret in self._table.where(lambda secret: not secret.name and secret.id not in used):
            self._table.delete(secret.id)

    def named(self, environment: str) -> list[Secret]:
        return self._table.where(lambda secret: secret.environment == environment and bool(secret.name))

    def _create(self, environment: str, name: str, values: dict[str, str], app_id: str | None) -> Secret:
        return self._table.save(
            Secret(
                id=new_id("st"),
                environment=environment,
                name=name,
                created_at=now(),
                values=dict(values),
                app_id=app_id,
            )
        )

    def _by_name(self, environment: str, name: str) -> Secret | None:
        return next((secret for secret in self.named(environment) if secret.name == name), None)
