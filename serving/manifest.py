"""What an artifact on a volume consists of, recorded once it was complete: `.manifest.json` in its folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

MANIFEST = ".manifest.json"
SENTINEL = "model.safetensors.index.json"
"""The shard index: written last of all files of a checkpoint, so its presence means the rest is there."""
_CLOCK_SLACK = 1.0
_READERS = 4
"""Hashing releases the interpreter, and a volume gives more to several readers than to one."""


class ManifestFile(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: str
    """Relative to the artifact's folder, with `/`."""
    size: int
    """Bytes."""
    sha256: str | None = None


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True)

    created: float
    """Unix time."""
    files: list[ManifestFile]
    bytes: int
    """Sum of the files' sizes."""

    def by_path(self) -> dict[str, ManifestFile]:
        return {file.path: file for file in self.files}


class WeightsManifest(Manifest):
    repo: str
    revision: str
    """As the recipe wrote it (a branch, say); `commit` is what it stood for."""
    commit: str


class KernelsManifest(Manifest):
    key: str
    engine: str = ""
    """Name, version and image of the engine that compiled them. Unknown of artifacts from before the question."""
    seconds: float
    """How long the compilation took."""
    proven: bool = False
    """Whether a start with these compiled no GEMM kernel. Unknown, so no, of artifacts from before the question."""
    uncovered: list[str] = []
    """What the last proof start still compiled, or why there was none."""


M = TypeVar("M", bound=Manifest)


def read_manifest(model: type[M], folder: Path) -> M | None:
    """None where there is none, or none that can be read: then the artifact is not complete."""
    try:
        return model.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Atomically: a reader sees the old one or the new one. What an earlier version of this did not say stays unsaid:
    the text's hash is part of what is deployed."""
    write_atomically(
        folder / MANIFEST, json.dumps(manifest.model_dump(mode="json", exclude_unset=True), indent=1) + "\n"
    )


def write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def differences(manifest: Manifest, folder: Path) -> list[str]:
    """What the folder lacks of the manifest, one phrase per file; files beyond the manifest do not matter."""
    found = []
    for file in manifest.files:
        try:
            size = (folder / file.path).stat().st_size
        except OSError:
            found.append(f"{file.path} is missing")
            continue
        if size != file.size:
            found.append(f"{file.path} has {size:,} bytes, not {file.size:,}")
    return found


def damaged_since(manifest: Manifest, folder: Path, suspects: Collection[str] = ()) -> list[str]:
    """Paths of files that are no longer what the manifest says: by size, or by content where written to later.

    A file no newer than the manifest itself was not touched since, and is not read again, as a checkpoint has 700 GB:
    unless it is among the `suspects`.
    """
    written = (folder / MANIFEST).stat().st_mtime

    def is_wrong(file: ManifestFile) -> bool:
        path = folder / file.path
        try:
            status = path.stat()
            if status.st_size != file.size:
                return True
            newer = status.st_mtime > written + _CLOCK_SLACK
            return (newer or file.path in suspects) and sha256_of(path) != file.sha256
        except OSError:
            return True

    with ThreadPoolExecutor(_READERS) as pool:
        verdicts = pool.map(is_wrong, manifest.files)
        return [file.path for file, wrong in zip(manifest.files, verdicts, strict=True) if wrong]


def written_again(manifest: Manifest, folder: Path) -> bool:
    """Whether any file is newer than the manifest: someone looking at the listing alone has to suspect it."""
    written = (folder / MANIFEST).stat().st_mtime
    return any((folder / file.path).stat().st_mtime > written for file in manifest.files)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
