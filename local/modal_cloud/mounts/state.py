from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from uuid import uuid4

from local.modal_cloud.clock import now
from local.modal_cloud.errors import Invalid, NotFound
from local.modal_cloud.folders import Folders
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import Mount, MountedFile
from local.modal_cloud.store import Store, Table

BUILT_IN = ("modal-client-mount-", "modal-client-dependencies-", "python-build-standalone.")
"""Names of Modal's own mounts. They are empty here: containers run the emulator's interpreter and its packages."""


class Mounts:
    def __init__(self, store: Store, folders: Folders) -> None:
        self._table = Table(store, "mounts", Mount)
        self._folders = folders

    def get(self, mount_id: str) -> Mount:
        return self._table.get(mount_id)

    def named(self, name: str) -> Mount:
        """One of Modal's own. Raises NotFound for any other."""
        found = next(iter(self._table.where(lambda mount: mount.name == name)), None)
        if found is not None:
            return found
        if not name.startswith(BUILT_IN):
            raise NotFound(f"Mount '{name}' not found")
        return self._table.save(Mount(id=new_id("mo"), name=name, files=[], created_at=now()))

    def of_files(self, files: list[MountedFile]) -> Mount:
        """The same files give the same mount. Raises Invalid when content is missing."""
        files = sorted(files, key=lambda file: file.path)
        digest = hashlib.sha256()
        for file in files:
            if not self.exists(file.sha256):
                raise Invalid(f"{file.path}: its content ({file.sha256}) has not been uploaded")
            digest.update(f"{file.path}\0{file.sha256}\0{file.mode}\n".encode())
        checksum = digest.hexdigest()
        found = next(iter(self._table.where(lambda mount: mount.checksum == checksum)), None)
        return found or self._table.save(
            Mount(id=new_id("mo"), name="", files=files, created_at=now(), checksum=checksum)
        )

    def exists(self, sha256: str) -> bool:
        return self._folders.content(sha256).is_file()

    def content(self, sha256: str) -> Path:
        file = self._folders.content(sha256)
        if not file.is_file():
            raise NotFound(f"content {sha256} has not been uploaded")
        return file

    def put(self, sha256: str, data: bytes | Path) -> None:
        """Stores content, given as bytes or as a file. Raises Invalid when it isn't what its digest says."""
        target = self._folders.content(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{uuid4().hex}")
        if isinstance(data, bytes):
            part.write_bytes(data)
        else:
            shutil.copyfile(data, part)
        with part.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
        if actual != sha256:
            part.unlink()
            raise Invalid(f"content has SHA-256 {actual}, expected {sha256}")
        os.replace(part, target)
