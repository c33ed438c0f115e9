"""What happens around a change of an app's live version: definitions switch, then everyone concerned is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.apps.state import Publication
from local.modal_cloud.errors import NotFound
from local.modal_cloud.records import App, AppVersion

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class Releases:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def publish(self, app: App, state: int, name: str, publication: Publication) -> AppVersion:
        """Raises NotFound for an unknown function or definition, before anything has changed."""
        for function_id, definition_id in publication.definition_ids.items():
            function = self._cloud.functions.get(function_id)
            if definition_id not in function.definitions:
                raise NotFound(f"Function '{function.name}' has no definition '{definition_id}'")
        before = set(app.function_ids.values())
        with self._cloud.store.transaction():
            version = self._cloud.apps.publish(app, state, name, publication)
            for function_id in before | set(version.function_ids.values()):
                self._cloud.functions.go_live(function_id, version.definition_ids.get(function_id))
        for function_id in before - set(version.function_ids.values()):
            for gone in (function_id, *(variant.id for variant in self._cloud.functions.variants(function_id))):
                self._cloud.calls.function_gone(gone, f"App '{app.name}' was deployed without this function")
        self._cloud.scheduler.app_published(app.id)
        self._cloud.ingress.app_published(app.id)
        self._cloud.schedules.app_published()
        return version

    def roll_back(self, app: App, number: int) -> AppVersion:
        """A new version with the content of an old one. -1: the one before. Raises NotFound."""
        return self._again(app, self._cloud.apps.version(app, number), rollback=True)

    def roll_over(self, app: App) -> AppVersion:
        """A new version with the content of the live one, so that its containers are replaced."""
        return self._again(app, self._cloud.apps.version(app, app.live_version), rollback=False)

    def _again(self, app: App, version: AppVersion, rollback: bool) -> AppVersion:
        return self.publish(
            app,
            app.state,
            app.name,
            Publication(
                function_ids=version.function_ids,
                class_ids=version.class_ids,
                definition_ids=version.definition_ids,
                client_version=version.client_version,
                tag=version.tag,
                commit_info=version.commit_info,
                rollback_of=version.number if rollback else None,
            ),
        )

    def stop(self, app: App) -> None:
        """Idempotent. Calls under way end, containers stop."""
        if app.stopped_at is not None:
            return
        self._cloud.apps.stop(app)
        self._cloud.calls.app_stopped(app.id)
        self._cloud.scheduler.app_stopped(app.id)
        self._cloud.ingress.app_stopped(app.id)
        self._cloud.logs.wake()

    def client_left(self, app: App) -> None:
        """The end of `modal run` or of a deploy that failed. Deployed apps don't depend on a client."""
        if app.state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_INITIALIZING):
            self.stop(app)
        elif app.state == api_pb2.APP_STATE_DETACHED:
            app.state = api_pb2.APP_STATE_DETACHED_DISCONNECTED
            self._cloud.apps.save(app)

    def sweep(self) -> None:
        """Now and then: stops what nobody needs any more."""
        for app in self._cloud.apps.abandoned():
            self.stop(app)
        for app in self._cloud.apps.detached():
            if not self._cloud.calls.unfinished_of_app(app.id):
                self.stop(app)
