from __future__ import annotations

import time
from pathlib import Path

from local.modal_cloud.errors import NotFound
from local.modal_cloud.folders import Folders
from local.modal_cloud.ids import new_id

KEPT_SECONDS = 7 * 86400
"""As long as results of calls can be fetched."""


class Blobs:
    """A blob is its file; ids are unguessable and never reused."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        for blob in (folders.root / "blobs").iterdir():
            if blob.stat().st_mtime < time.time() - KEPT_SECONDS:
                blob.unlink()

    def create(self) -> str:
        return new_id("bl")

    def file(self, blob_id: str) -> Path:
        """Where the content of a complete blob lies. Raises NotFound."""
        file = self._folders.blob(Path(blob_id).name)
        if not file.is_file():
            raise NotFound(f"blob '{blob_id}' not found")
        return file
