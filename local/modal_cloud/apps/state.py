from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modal_proto import api_pb2

from local.modal_cloud.clock import now
from local.modal_cloud.errors import FailedPrecondition, NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import App, AppVersion
from local.modal_cloud.store import Store, Table

ABANDONED_AFTER = 60.0
"""Seconds without a heartbeat (every 15 s) after which the app of a vanished `modal run` or deploy is stopped."""


@dataclass(frozen=True)
class Publication:
    """What a new version consists of."""

    function_ids: Mapping[str, str]
    class_ids: Mapping[str, str]
    definition_ids: Mapping[str, str]
    client_version: str
    tag: str = ""
    commit_info: api_pb2.CommitInfo | None = None
    rollback_of: int | None = None


class Apps:
    def __init__(self, store: Store) -> None:
        self._table = Table(store, "apps", App)
        for app in self._table.where(lambda app: app.heartbeat_at is not None):
            app.heartbeat_at = now()  # Heartbeats are not saved: clients have the whole time again.

    def get(self, app_id: str) -> App:
        return self._table.get(app_id)

    def all(self, environment: str) -> list[App]:
        return self._table.where(lambda app: app.environment == environment)

    def running(self) -> list[App]:
        """Deployed, or run by a client."""
        return self._table.where(lambda app: app.running)

    def create(self, environment: str, description: str, state: int, tags: Mapping[str, str]) -> App:
        """A name is owned from the first publish on; until then it is a description."""
        return self._table.save(
            App(
                id=new_id("ap"),
                environment=environment,
                name="",
                description=description,
                state=state,
                created_at=now(),
                tags=dict(tags),
                heartbeat_at=now(),
            )
        )

    def deployed(self, environment: str, name: str) -> App | None:
        return next(iter(self._named(environment, name, api_pb2.APP_STATE_DEPLOYED)), None)

    def last_stopped(self, environment: str, name: str) -> App | None:
        stopped = self._named(environment, name, api_pb2.APP_STATE_STOPPED)
        return max(stopped, key=lambda app: app.stopped_at or 0.0, default=None)

    def require_deployed(self, environment: str, name: str) -> App:
        app = self.deployed(environment, name)
        if app is None:
            raise NotFound(f"App '{name}' not found in environment '{environment}'")
        return app

    def publish(self, app: App, state: int, name: str, publication: Publication) -> AppVersion:
        """Makes a new version the live one. The caller sets the functions' live definitions in the same
        transaction."""
        if app.stopped_at is not None:
            raise FailedPrecondition(f"App '{app.name or app.id}' has been stopped: deploy it again")
        version = AppVersion(
            number=max((version.number for version in app.versions), default=0) + 1,
            function_ids=dict(publication.function_ids),
            class_ids=dict(publication.class_ids),
            definition_ids=dict(publication.definition_ids),
            deployed_at=now(),
            client_version=publication.client_version,
            tag=publication.tag,
            commit_info=publication.commit_info,
            rollback_of=publication.rollback_of,
        )
        app.versions.append(version)
        app.live_version = version.number
        app.function_ids = dict(version.function_ids)
        app.class_ids = dict(version.class_ids)
        app.state = state
        app.name = name or app.name
        if state == api_pb2.APP_STATE_DEPLOYED:
            app.deployed_at = version.deployed_at
            app.heartbeat_at = None
        self._table.save(app)
        return version

    def version(self, app: App, number: int) -> AppVersion:
        """By its number, or -1 for the one before the live one. Raises NotFound."""
        wanted = app.live_version - 1 if number == -1 else number
        for version in app.versions:
            if version.number == wanted:
                return version
        if number == -1:
            raise NotFound(f"App '{app.name}' has no version before v{app.live_version}")
        raise NotFound(f"App '{app.name}' has no version v{number}: modal app history {app.name}")

    def stop(self, app: App) -> None:
        app.state = api_pb2.APP_STATE_STOPPED
        app.stopped_at = now()
        self._table.save(app)

    def save(self, app: App) -> None:
        self._table.save(app)

    def abandoned(self) -> list[App]:
        """Apps whose client is gone without a word."""
        return self._table.where(
            lambda app: (
                app.stopped_at is None
                and app.state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_INITIALIZING)
                and (app.heartbeat_at or app.created_at) < now() - ABANDONED_AFTER
            )
        )

    def detached(self) -> list[App]:
        """Apps whose client left on purpose: they end with their last call."""
        return self._table.where(lambda app: app.state == api_pb2.APP_STATE_DETACHED_DISCONNECTED)

    def heartbeats_moved(self, seconds: float) -> None:
        """The clock was moved on: nobody has been silent for so long."""
        for app in self._table.where(lambda app: app.heartbeat_at is not None):
            app.heartbeat_at = (app.heartbeat_at or 0.0) + seconds

    def heartbeat(self, app_id: str) -> App:
        app = self.get(app_id)
        app.heartbeat_at = now()
        return app

    def _named(self, environment: str, name: str, state: int) -> list[App]:
        return self._table.where(lambda app: app.environment == environment and app.name == name and app.state == state)
