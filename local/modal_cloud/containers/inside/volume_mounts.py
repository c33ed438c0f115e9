"""Mounts volumes inside the container, and swaps a mounted one for a newer view of the same volume.

The mount of a volume is an overlay: committed content below, own writes above. `userxattr` makes root and user
namespaces keep the same marks (`user.overlay.*`), which the host reads when it commits; `volatile` leaves out syncing
the upper folder, which nobody needs after a crash of the machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from local.modal_cloud.containers.inside import syscalls
from local.modal_cloud.containers.inside.layout import VOLUMES, Layers

_SECONDS_TO_STOP = 0.1


def mount_volumes(root: str, volumes: list[Layers]) -> None:
    for layers in volumes:
        os.makedirs(_point(root, layers.volume_id), exist_ok=True)
    syscalls.bind(root + VOLUMES, root + VOLUMES)
    syscalls.make_read_only(root + VOLUMES)
    for layers in volumes:
        _mount(layers, _point(root, layers.volume_id))


def swap_volume(root: str, layers: Layers) -> None:
    """Replaces the mounted view. Raises OSError(EBUSY) and changes nothing while a file of the volume is open.

    The new view is mounted aside first, so that between the two only an unmount and a move happen. The kernel lets the
    unmount take milliseconds, and whatever looked at the bare mount point meanwhile would find it empty and read-only:
    all other processes of the container stand still for that long.
    """
    point = _point(root, layers.volume_id)
    aside = f"{root}/run/.next-volume"
    os.makedirs(aside, exist_ok=True)
    _mount(layers, aside)
    with _others_stopped(root):
        try:
            syscalls.unmount(point)
        except OSError:
            syscalls.unmount(aside)
            raise
        syscalls.mount(aside, point, None, syscalls.MS_MOVE)


@contextlib.contextmanager
def _others_stopped(root: str) -> Iterator[None]:
    """Holds every process of this pid namespace but its first, the caller."""
    with contextlib.suppress(ProcessLookupError):  # there is no other
        os.kill(-1, signal.SIGSTOP)
    try:
        # A stop takes effect when a thread leaves the kernel. One that waits there for a stopped child would never.
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while _any_running(root) and time.monotonic() < deadline:
            time.sleep(0.001)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGCONT)


def _any_running(root: str) -> bool:
    for pid in filter(str.isdigit, os.listdir(root + "/proc")):
        if pid == "1":
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"{root}/proc/{pid}/task"):
                with open(f"{root}/proc/{pid}/task/{thread}/stat", encoding="utf-8", errors="replace") as stat:
                    state = stat.read().rpartition(")")[2].split()[0]
                if state not in "TtZX":
                    return True
    return False


def _point(root: str, volume_id: str) -> str:
    return f"{root}{VOLUMES}/{volume_id}"


def _mount(layers: Layers, point: str) -> None:
    if layers.read_only:
        syscalls.bind(layers.lowers[0], point)
        syscalls.make_read_only(point)
        return
    if layers.space:
        flags, size = syscalls.MS_NOSUID | syscalls.MS_NODEV, f"size={layers.space},mode=755"
        syscalls.mount("space", os.path.dirname(layers.upper), "tmpfs", flags, size)
        os.mkdir(layers.upper)
        os.mkdir(layers.work)
    lower = ":".join(_escaped(path) for path in layers.lowers)
    options = f"lowerdir={lower},upperdir={_escaped(layers.upper)},workdir={_escaped(layers.work)},userxattr,volatile"
    syscalls.mount("volume", point, "overlay", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def files_being_written(root: str, volume_id: str) -> list[str]:
    """Paths relative to the volume that any process of the container has open for writing or mapped writable."""
    prefix = _point(root, volume_id) + "/"
    found: set[str] = set()
    for pid in filter(str.isdigit, os.listdir(root + "/proc")):
        # Processes and descriptors come and go while we look.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found.update(_written_by(f"{root}/proc/{pid}", prefix))
    return sorted(found)


def _written_by(process: str, prefix: str) -> Iterator[str]:
    for descriptor in os.listdir(f"{process}/fd"):
        with contextlib.suppress(FileNotFoundError):
            path = os.readlink(f"{process}/fd/{descriptor}")
            if path.startswith(prefix) and _opened_for_writing(f"{process}/fdinfo/{descriptor}"):
                yield path.removeprefix(prefix)
    with open(f"{process}/maps") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[1].startswith("rw-s") and fields[5].startswith(prefix):
                yield fields[5].removeprefix(prefix)


def _opened_for_writing(fdinfo: str) -> bool:
    with open(fdinfo) as file:
        for line in file:
            if line.startswith("flags:"):
                return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
