"""The engine's configuration file with the API key, for as long as the engine needs it to start."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from serving.log_pump import LineSink


class KeyFile:
    """A file only this user can read, in a folder of its own: arguments are visible to every process of the machine."""

    def __init__(self, content: str) -> None:
        self._folder: Path | None = Path(tempfile.mkdtemp(prefix="engine-"))  # mode 0700
        self.path = str(self._folder / "config.yaml")
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)

    def remove(self, out: LineSink) -> None:
        """May be called again; never raises."""
        folder, self._folder = self._folder, None
        if folder:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                out(f"[startup] could not remove the engine's key file {folder}: {error.strerror}")
