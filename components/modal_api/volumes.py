"""Volumes and their files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

from components.modal_api.errors import Absent, explained, one_line, patient


@dataclass(frozen=True)
class VolumeFile:
    path: str
    """Relative to the volume's root, without a leading slash."""
    size: int | None
    """Bytes; None for a link, such as those of the Hub client's cache: a listing does not tell its target's size."""
    mtime: float


@patient
def ensure_volume(environment: str, name: str, version: int) -> tuple[str, bool]:
    """Creates the volume or takes over the one of that name, whatever its version; its id and whether it is new."""
    import modal

    with explained(f"volume {name}", environment):
        existed = find_volume(environment, name) is not None
        if not existed:
            modal.Volume.objects.create(name, version=version, allow_existing=True, environment_name=environment)
        volume = modal.Volume.from_name(name, environment_name=environment)
        volume.hydrate()
        return volume.object_id, not existed


@patient
def find_volume(environment: str, name: str) -> str | None:
    """The volume's id, or None where there is none of that name."""
    import modal

    try:
        with explained(f"volume {name}", environment):
            volume = modal.Volume.from_name(name, environment_name=environment)
            volume.hydrate()
            return volume.object_id
    except Absent:
        return None


@patient
def delete_volume(environment: str, name: str) -> None:
    import modal

    with explained(f"volume {name}", environment):
        modal.Volume.objects.delete(name, allow_missing=True, environment_name=environment)


@patient
def list_volume_files(environment: str, volume: str, folder: str) -> dict[str, VolumeFile]:
    """Every file below `folder`, by its path relative to `folder`; empty where volume or folder are missing."""
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            entries = modal.Volume.from_name(volume, environment_name=environment).listdir(folder, recursive=True)
    except Absent:
        return {}
    prefix = folder.strip("/") + "/"
    return {
        entry.path.strip("/").removeprefix(prefix): VolumeFile(
            entry.path.strip("/"), None if entry.type == modal.types.FileEntryType.SYMLINK else entry.size, entry.mtime
        )
        for entry in entries
        if entry.type in (modal.types.FileEntryType.FILE, modal.types.FileEntryType.SYMLINK)
    }


@patient
def read_volume_file(environment: str, volume: str, path: str) -> bytes | None:
    """The whole file, or None where it is missing. For small files: the content is held in memory."""
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            return b"".join(modal.Volume.from_name(volume, environment_name=environment).read_file(path))
    except Absent:
        return None


@patient
def write_volume_file(environment: str, volume: str, path: str, content: bytes) -> None:
    """Writes a small file, over one of that name."""
    import modal

    with explained(f"volume {volume}", environment):
        files = modal.Volume.from_name(volume, environment_name=environment)
        with files.batch_upload(force=True) as upload:
            upload.put_file(io.BytesIO(content), path)


@patient
def delete_volume_folder(environment: str, volume: str, folder: str) -> None:
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            modal.Volume.from_name(volume, environment_name=environment).remove_file(folder, recursive=True)
    except Absent:
        return


@contextlib.contextmanager
def _missing_file_is_absent() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Absent(one_line(error)) from None
