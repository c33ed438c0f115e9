"""Trees of files behind volume views: snapshots by hard links, and putting one layer's changes into a tree.

A *layer* is an overlayfs upper folder: changed files as they are, removed ones as character devices 0/0 ("whiteouts"),
replaced folders marked opaque. All of it is on one file system ($LOCAL_DIR), so that content is linked, not copied.
Blocking functions: run them in threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_OPAQUE = "user.overlay.opaque"
_SMALL = 16 << 20
"""Bytes up to which a file of a layer still in use is copied rather than linked."""


def snapshot(source: Path, target: Path) -> None:
    """Makes `target` a tree like `source` whose files are hard links to the same content.

    Safe although `source` goes on changing, because files there are only ever replaced (rename) or removed, never
    written in place: the snapshot's links keep what was there. Files that vanish meanwhile are left out.
    """
    target.mkdir(parents=True, exist_ok=True)
    shutil.copymode(source, target)
    for entry in _entries(source):
        own = target / entry.name
        with contextlib.suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                snapshot(Path(entry.path), own)
            else:
                os.link(entry.path, own, follow_symlinks=False)


@dataclass
class Writers:
    """How to take files out of a layer that processes still write to."""

    paths: set[str]
    """Relative paths that are open for writing."""
    skip_them: bool
    """Leave these for the next commit (background commits); else copy what is there now."""


@dataclass
class Publisher:
    """Puts the changes of one layer into a tree, file by file, each by an atomic rename."""

    layer: Path
    lowers: list[Path]
    """What lies below the layer in the view it was written in, newest first."""
    target: Path
    staging: Path
    """Folder for files on their way, on the same file system."""
    published: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Relative path → inode, size, mtime of what has been put there from this layer before."""

    def publish(self, writers: Writers | None = None) -> int:
        """Number of entries changed. `writers` is None when nobody can write to the layer any more: then files are
        linked into the tree, and both sides stay as they are for ever."""
        self.staging.mkdir(parents=True, exist_ok=True)
        return self._folder("", writers, replaces=False)

    def _folder(self, relative: str, writers: Writers | None, *, replaces: bool) -> int:
        """`replaces`: nothing shines through from below, so what is there and not here has been removed."""
        changed = self._remove_hidden(relative) if replaces else 0
        for entry in _entries(self.layer / relative):
            path = f"{relative}/{entry.name}" if relative else entry.name
            try:
                found = entry.stat(follow_symlinks=False)
                changed += self._entry(path, found, writers, replaces)
            except FileNotFoundError:
                continue  # removed or renamed while we looked: the next commit sees what it became
        return changed

    def _entry(self, path: str, found: os.stat_result, writers: Writers | None, replaces: bool) -> int:
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        if stat.S_ISDIR(found.st_mode):
            created = self._make_folder(path, found)
            # Inside a replaced folder nothing is marked opaque any more.
            return created + self._folder(path, writers, replaces=replaces or _is_opaque(self.layer / path))
        if self.published.get(path) == mark:
            return 0
        target = self.target / path
        if _is_whiteout(found):
            gone = _remove(target, self.staging)
            self.published[path] = mark
            return gone
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return 0  # sockets and pipes have no meaning outside the container
        if writers is not None and path in writers.paths and writers.skip_them:
            return 0
        staged = self.staging / "file"
        staged.unlink(missing_ok=True)
        self._stage(path, found, staged, writers)
        if target.is_dir() and not target.is_symlink():
            _remove(target, self.staging)
        staged.replace(target)
        staged.unlink(missing_ok=True)  # renaming onto another link of the same file does nothing
        self.published[path] = mark
        return 1

    def _stage(self, path: str, found: os.stat_result, staged: Path, writers: Writers | None) -> None:
        source = self.layer / path
        in_use = writers is not None and (
            path in writers.paths or found.st_size <= _SMALL or found.st_nlink > 1 or path in self.published
        )
        if in_use and stat.S_ISREG(found.st_mode):
            shutil.copy2(source, staged)
        else:
            try:
                os.link(source, staged, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copy2(source, staged, follow_symlinks=False)  # a layer of limited size is in memory

    def _make_folder(self, path: str, found: os.stat_result) -> int:
        target = self.target / path
        if target.is_dir() and not target.is_symlink():
            created = 0
        else:
            _remove(target, self.staging)
            target.mkdir(parents=True)
            created = 1
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_IMODE(target.stat().st_mode) != mode:
            target.chmod(mode)
        return created

    def _remove_hidden(self, relative: str) -> int:
        """Overlayfs marks folders opaque that were removed and made again, and, to save look-ups, new ones too. Only
        what the container had seen there before counts as removed: others may have filled the same folder since."""
        inode = (self.layer / relative).stat().st_ino
        if self.published.get(relative) == (inode, 0, 0):
            return 0
        self.published[relative] = (inode, 0, 0)
        kept = {entry.name for entry in _entries(self.layer / relative)}
        return sum(_remove(self.target / relative / name, self.staging) for name in self._names_below(relative) - kept)

    def _names_below(self, relative: str) -> set[str]:
        names: set[str] = set()
        removed: set[str] = set()
        for lower in self.lowers:
            folder = lower / relative
            if not folder.is_dir():
                if folder.is_symlink() or folder.exists():
                    break  # a file or a whiteout hides what is further down
                continue
            for entry in _entries(folder):
                if _is_whiteout(entry.stat(follow_symlinks=False)):
                    removed.add(entry.name)
                elif entry.name not in removed:
                    names.add(entry.name)
            if _is_opaque(folder):
                break
        return names


def size_of(layer: Path) -> int:
    """Bytes of all files in it."""
    return sum(
        size_of(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
        for entry in _entries(layer)
    )


def delete_tree(folder: Path) -> None:
    """Also when something in it can't be listed: overlayfs leaves work folders without any permissions, which stops
    everybody but root. What still can't be deleted stays."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError:
        _open_up(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                _open_up(Path(entry.path))


def is_empty(layer: Path) -> bool:
    return next(_entries(layer), None) is None


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _remove(path: Path, staging: Path) -> int:
    """Takes a file or a whole folder out of the tree in one step; 1 if there was one."""
    doomed = staging / "removed"
    try:
        path.rename(doomed)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    if doomed.is_dir() and not doomed.is_symlink():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()
    return 1
