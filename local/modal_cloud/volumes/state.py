from __future__ import annotations

import shutil
from pathlib import Path

from modal_proto import api_pb2

from local.modal_cloud.clock import now
from local.modal_cloud.errors import AlreadyExists
from local.modal_cloud.folders import Folders
from local.modal_cloud.ids import new_id
from local.modal_cloud.naming import is_anonymous, must_create
from local.modal_cloud.records import Volume
from local.modal_cloud.store import Store, Table
from local.modal_cloud.volumes.content import Content

ABANDONED_AFTER = 900.0
"""Seconds without a heartbeat (every 300 s) after which an ephemeral volume goes."""


class Volumes:
    def __init__(self, store: Store, folders: Folders) -> None:
        self._table = Table(store, "volumes", Volume)
        self._folders = folders
        known = {volume.id for volume in self._table.all()}
        for folder in (folders.root / "volumes").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder)
        for volume in self._table.where(lambda volume: not volume.name):
            if (volume.heartbeat_at or volume.created_at) < now() - ABANDONED_AFTER:
                self.delete(volume.id)

    def get(self, volume_id: str) -> Volume:
        return self._table.get(volume_id)

    def all(self) -> list[Volume]:
        """In order of creation, ephemeral ones included."""
        return self._table.all()

    def content(self, volume_id: str) -> Content:
        """The files of a volume. Raises NotFound."""
        return Content(self._folders.volume(self.get(volume_id).id), self._folders.root / "volumes" / "incoming")

    def get_or_create(self, environment: str, name: str, creation_type: int, version: int) -> Volume:
        """`version` counts for new volumes only (0: v1)."""
        found = None
        if not is_anonymous(creation_type):
            found = self.find(environment, name)
            if not must_create(found, creation_type, "Volume", name, environment) and found is not None:
                return found
        if found is not None:
            self.delete(found.id)
        volume = Volume(
            id=new_id("vo"),
            environment=environment,
            name="" if is_anonymous(creation_type) else name,
            version=version or api_pb2.VOLUME_FS_VERSION_V1,
            created_at=now(),
        )
        self._folders.volume(volume.id).mkdir(parents=True)
        return self._table.save(volume)

    def named(self, environment: str) -> list[Volume]:
        return self._table.where(lambda volume: volume.environment == environment and bool(volume.name))

    def find(self, environment: str, name: str) -> Volume | None:
        return next((volume for volume in self.named(environment) if volume.name == name), None)

    def rename(self, volume_id: str, name: str) -> None:
        volume = self.get(volume_id)
        if self.find(volume.environment, name) is not None:
            raise AlreadyExists(f"Volume '{name}' already exists in environment '{volume.environment}'")
        volume.name = name
        self._table.save(volume)

    def delete(self, volume_id: str) -> None:
        """The record goes first: a folder without one is removed at the next start at the latest."""
        self._table.delete(self.get(volume_id).id)
        shutil.rmtree(self._folders.volume(volume_id), ignore_errors=True)

    def heartbeat(self, volume_id: str) -> None:
        volume = self.get(volume_id)
        volume.heartbeat_at = now()
        self._table.save(volume)

    def file(self, volume_id: str, path: str) -> Path:
        return self.content(volume_id).resolve(path)
