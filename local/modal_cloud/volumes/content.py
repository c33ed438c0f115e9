"""The files of one volume, as clients see them. Blocking: call from a thread where it can take long."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from modal_proto import api_pb2

from local.modal_cloud.errors import AlreadyExists, Invalid, NotFound

DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class Content:
    root: Path
    """Committed content."""
    incoming: Path
    """On the same file system: files are made here and renamed into place when complete."""

    def resolve(self, path: str) -> Path:
        """The host path of a path in the volume (with or without a leading `/`). Raises Invalid for one that leads
        out of it."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        target = self.root.joinpath(*parts)
        if ".." in parts or (parts and not target.parent.resolve().is_relative_to(self.root.resolve())):
            raise Invalid(f"path '{path}' leads out of the volume")
        return target

    def existing(self, path: str) -> Path:
        target = self.resolve(path)
        if not os.path.lexists(target):
            raise NotFound(f"{path.lstrip('/') or '/'}: no such file or directory")
        return target

    def entries(self, path: str, recursive: bool, limit: int | None = None) -> list[api_pb2.FileEntry]:
        """A folder's entries in order of name, or the one entry of a file. Raises NotFound."""
        target = self.existing(path)
        if not target.is_dir():
            return [self._entry(target)]
        found: list[api_pb2.FileEntry] = []
        for item in self._walk(target, recursive):
            if limit is not None and len(found) >= limit:
                break
            try:
                found.append(self._entry(item))
            except FileNotFoundError:
                continue  # Removed since it was listed.
        return found

    def remove(self, path: str, recursive: bool) -> None:
        """Raises NotFound, and Invalid for a folder without `recursive`."""
        target = self.existing(path)
        if target.is_dir() and not target.is_symlink():
            if not recursive:
                raise Invalid(f"{path}: is a directory; remove it recursively")
            for item in [target] if target != self.root else list(self.root.iterdir()):
                # Gone at once for everyone who looks, however long the removal takes.
                grave = self._incoming_name()
                os.rename(item, grave)
                if grave.is_dir() and not grave.is_symlink():
                    shutil.rmtree(grave)
                else:
                    grave.unlink()
        else:
            target.unlink()

    def check_free(self, paths: Sequence[str]) -> None:
        """Raises AlreadyExists, naming the first of the paths that is taken."""
        for path in paths:
            if os.path.lexists(self.resolve(path)):
                raise AlreadyExists(f"{path}: already exists")

    def put(self, path: str, source: Path, mode: int) -> None:
        """A copy of `source`, there completely or not at all."""
        part = self.start_file()
        shutil.copyfile(source, part)
        self.finish_file(part, path, mode)

    def start_file(self) -> Path:
        """A new file outside the volume, to be filled and given to `finish_file`."""
        self.incoming.mkdir(exist_ok=True)
        return self._incoming_name()

    def finish_file(self, part: Path, path: str, mode: int) -> None:
        target = self.resolve(path)
        if target.is_dir():
            part.unlink()
            raise Invalid(f"{path}: is a directory")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            part.unlink()
            raise Invalid(f"{path}: a folder on the way is a file") from None
        part.chmod(stat.S_IMODE(mode) or DEFAULT_MODE)
        os.replace(part, target)

    def copy(self, sources: Sequence[str], destination: str, recursive: bool) -> None:
        """As `cp`: into the destination where it is a folder. Raises NotFound, Invalid."""
        target = self.resolve(destination)
        into_folder = target.is_dir()
        if len(sources) > 1 and not into_folder:
            raise Invalid(f"{destination}: is not a directory")
        for path in sources:
            source = self.existing(path)
            goal = target / source.name if into_folder else target
            if not source.is_dir():
                self.put(str(goal.relative_to(self.root)), source, source.stat().st_mode)
                continue
            if not recursive:
                raise Invalid(f"{path}: is a directory; copy it recursively")
            for item in list(self._walk(source, recursive=True)):
                if item.is_file():
                    name = (goal / item.relative_to(source)).relative_to(self.root)
                    self.put(str(name), item, item.stat().st_mode)

    def _walk(self, folder: Path, recursive: bool) -> Iterator[Path]:
        for item in sorted(folder.iterdir()):
            yield item
            if recursive and item.is_dir() and not item.is_symlink():
                yield from self._walk(item, recursive)

    def _entry(self, item: Path) -> api_pb2.FileEntry:
        status = item.lstat()
        return api_pb2.FileEntry(
            path=str(item.relative_to(self.root)),
            type=_TYPES.get(stat.S_IFMT(status.st_mode), api_pb2.FileEntry.UNSPECIFIED),
            mtime=int(status.st_mtime),
            size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        )

    def _incoming_name(self) -> Path:
        self.incoming.mkdir(exist_ok=True)
        return self.incoming / uuid4().hex


_TYPES = {
    stat.S_IFREG: api_pb2.FileEntry.FILE,
    stat.S_IFDIR: api_pb2.FileEntry.DIRECTORY,
    stat.S_IFLNK: api_pb2.FileEntry.SYMLINK,
    stat.S_IFIFO: api_pb2.FileEntry.FIFO,
    stat.S_IFSOCK: api_pb2.FileEntry.SOCKET,
}
