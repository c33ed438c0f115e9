"""Source text of an engine's release: a wheel, a source archive, or a folder that either was unpacked to."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from recipes.flags.literals import Reader


def open_release(path: Path) -> Reader:
    """Reads modules by their dotted names. Raises OSError, zipfile.BadZipFile, tarfile.TarError."""
    if path.is_dir():
        return _by_name(lambda name: _text(path / name))
    if path.name.endswith((".tar.gz", ".tgz")):
        return _by_name(_from_sdist(path))
    archive = zipfile.ZipFile(path)
    members = set(archive.namelist())
    return _by_name(lambda name: archive.read(name).decode() if name in members else None)


def _by_name(read: Callable[[str], str | None]) -> Reader:
    def module(name: str) -> str | None:
        path = name.replace(".", "/")
        text = read(f"{path}.py")
        return read(f"{path}/__init__.py") if text is None else text

    return module


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _from_sdist(path: Path) -> Callable[[str], str | None]:
    """A source archive has one folder, `name-version/`, above its packages. Read once: it can't be seeked in."""
    texts: dict[str, str] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            content = archive.extractfile(member) if name.endswith(".py") else None
            if content is not None:
                texts[name] = content.read().decode("utf-8", errors="replace")
    return texts.get
