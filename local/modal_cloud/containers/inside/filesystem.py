"""Composes the container's `/`.

The container's root is a scratch folder under $LOCAL_DIR that already holds what is its own (source files, links to
volumes, `/root`, `/tmp`, …). Everything else of the host is bound into it read-only. Where a host folder has a name
in common with an own folder (a volume at `/opt/models` on a host that has `/opt`), the two are merged: the folder is
the container's, and each of the host's entries is bound into it. So no mount point is ever created on the host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from local.modal_cloud.containers.inside import syscalls
from local.modal_cloud.containers.inside.layout import RUNTIME, VOLUMES, Layout

_OWN_MOUNTS = ("/proc", "/sys", "/dev")


def build(layout: Layout) -> None:
    """Mounts everything but the volumes. Raises OSError."""
    root = layout.root
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.bind(root, root)
    _merge("/", root, skip={*layout.private, *_OWN_MOUNTS})
    hidden = [path for path in layout.hidden if _hide(root + path)]
    for path in sorted(layout.exposed, key=len):  # an outer folder first: what is inside it is shown with it
        _expose(path, root, [*layout.private, *hidden])
    for path in hidden:
        syscalls.make_read_only(root + path)
    _special_file_systems(root)
    empty = root + "/run/.empty"
    with open(empty, "wb"):
        pass
    for path in layout.masked:
        if os.path.isfile(root + path):
            syscalls.bind(empty, root + path)
    os.makedirs(root + RUNTIME, exist_ok=True)
    syscalls.bind(layout.runtime, root + RUNTIME)
    os.makedirs(root + VOLUMES, exist_ok=True)


def _merge(folder: str, root: str, skip: Iterable[str]) -> None:
    """Binds each entry of the host's `folder` into the container's, unless the container has its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return
    for entry in entries:
        if entry.path in skip:
            continue
        own = root + entry.path
        try:
            kept = os.lstat(own)
        except FileNotFoundError:
            _show(entry.path, own)
            continue
        if stat.S_ISDIR(kept.st_mode) and entry.is_dir(follow_symlinks=False):
            _merge(entry.path, root, skip)


def _show(path: str, own: str) -> None:
    """Shows one host file, folder or link at `own`, where nothing is yet."""
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(path), own)
        return
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(own)
    elif stat.S_ISREG(found.st_mode):
        with open(own, "wb"):
            pass
    else:
        return  # sockets, pipes and devices outside /dev are the host's own affair
    syscalls.bind(path, own)
    syscalls.make_read_only(own)


def _expose(path: str, root: str, private: list[str]) -> None:
    if not any(path == folder or path.startswith(folder + "/") for folder in private):
        return
    own = root + path
    if os.path.lexists(own) or not os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(own), exist_ok=True)
    _show(path, own)


def _special_file_systems(root: str) -> None:
    for path in _OWN_MOUNTS:
        os.makedirs(root + path, exist_ok=True)
    for path in ("/dev", "/sys"):
        syscalls.bind(path, root + path)
        syscalls.make_read_only(root + path)
    if os.path.isdir("/dev/shm"):
        syscalls.mount("shm", root + "/dev/shm", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=1777")
    try:
        syscalls.mount("proc", root + "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV)
    except PermissionError:
        # A host whose own /proc is partly masked (in a Docker container) lets no user namespace mount a fresh one.
        syscalls.bind("/proc", root + "/proc")


def _hide(own: str) -> bool:
    """Covers a folder with an empty one; False if it isn't shown anyway (below a private folder)."""
    if not os.path.isdir(own):
        return False
    syscalls.mount("hidden", own, "tmpfs", 0, "size=1m,mode=755")
    return True
