"""Where everything lies under $LOCAL_DIR. Nothing of the cloud is written anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    root: Path
    """$LOCAL_DIR, absolute."""

    @property
    def state(self) -> Path:
        """SQLite: records, dict entries, logs."""
        return self.root / "state"

    def volume(self, volume_id: str) -> Path:
        """Committed content of a volume, as a plain folder."""
        return self.root / "volumes" / volume_id

    def content(self, sha256: str) -> Path:
        """A file of a source mount or a v1 upload, by its content."""
        return self.root / "content" / sha256[:2] / sha256

    def blob(self, blob_id: str) -> Path:
        """A function input or output too large for a message."""
        return self.root / "blobs" / blob_id

    def block(self, sha256: str) -> Path:
        """An 8 MiB piece of a v2 upload under way."""
        return self.root / "blocks" / sha256

    @property
    def containers(self) -> Path:
        """Sockets, overlays and argument files of running containers: the runtime's own."""
        return self.root / "containers"

    def gpus_taken(self) -> set[str]:
        """GPU types that are not to be had: the words of a file that a person writes to see what happens then."""
        file = self.root / "gpus-taken"
        return set(file.read_text(encoding="utf-8").upper().split()) if file.exists() else set()

    def create(self) -> None:
        for name in ("state", "volumes", "content", "blobs", "blocks", "containers"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
