"""Each container's own view of each volume: others' commits appear at a reload, own writes leave at a commit.

A view is an overlay mount. Below lie, newest first, *frozen* layers (own writes of earlier commits) and a snapshot of
the committed folder; above is the layer that takes the container's writes.

Why nothing below a live mount ever changes (overlayfs leaves the outcome of that undefined):
- the snapshot is a tree of hard links of its own; in the committed folder files are replaced by rename only, so no
  inode in the snapshot is ever written to;
- a layer is frozen by swapping the mount for one that has it below and a fresh layer on top. The kernel refuses the
  unmount while anything is open, mapped or current folder there (EBUSY), so nobody can hold a writable handle to a
  frozen layer, and its files can be linked into the committed folder: no bytes are copied, whatever their size.

A commit while files are open can't freeze: the layer stays on top, and its files go out as copies where they are open
for writing or small, as links where they are closed and large. One inaccuracy follows: a large file that was linked
like this and is then written to *in place* changes in the committed folder without a commit. Programs that write to a
temporary file and rename it (all downloads) are not concerned.

Renaming a folder that came from below gives EXDEV, as overlayfs has it; `mv` and `shutil.move` then copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.modal_cloud.containers.control import Gone
from local.modal_cloud.containers.inside.layout import Layers
from local.modal_cloud.containers.process import ContainerProcess
from local.modal_cloud.containers.volume_layers import Publisher, Writers, delete_tree, is_empty, size_of, snapshot
from local.modal_cloud.seams import OpenFiles, VolumeMount

_MOST_FROZEN = 6
"""Frozen layers of background commits before they are merged into a new base."""
_LEAST_SPACE = 4096
"""Bytes: one page. A file system in memory of size 0 is one without a limit."""
_log = logging.getLogger(__name__)


@dataclass
class _View:
    task_id: str
    volume_id: str
    folder: Path
    """Of this view, below the container's."""
    read_only: bool
    background_commits: bool
    base: Path
    """The snapshot."""
    frozen: list[Path] = field(default_factory=list)
    """Newest first; all of them published."""
    upper: Path = Path()
    published: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """What of `upper` has been committed while files were open."""
    generation: int = 0
    process: ContainerProcess | None = None
    space: int | None = None
    """Bytes that it may still write; None for as many as the disk has."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def fresh(self, name: str) -> Path:
        self.generation += 1
        return self.folder / f"{self.generation}-{name}"

    def fresh_upper(self) -> Path:
        folder = self.fresh("writes")
        return folder if self.space is None else folder / "upper"

    def seen(self, path: Path) -> Path:
        """Where this process finds a layer: those of limited size are mounted in the container only."""
        if self.space is None or self.process is None:
            return path
        return Path(f"/proc/{self.process.pid}/root{path}")

    def layers(self, upper: Path | None, lowers: Iterable[Path]) -> Layers:
        """For a mount with `upper` on top; creates it. None for read-only views."""
        below = [str(path) for path in lowers]
        if upper is None:
            return Layers(self.volume_id, below, "", "")
        work = upper.with_name(upper.name + ".work")
        if self.space is not None:
            upper.parent.mkdir(parents=True)
            return Layers(self.volume_id, below, str(upper), str(work), max(self.space, _LEAST_SPACE))
        upper.mkdir(parents=True)
        shutil.copymode(self.base, upper)
        work.mkdir()
        return Layers(self.volume_id, below, str(upper), str(work))


class VolumeViews:
    """Views of all containers. Methods run on the event loop and move files in threads."""

    def __init__(self, committed: Callable[[str], Path]) -> None:
        self._committed = committed
        self._views: dict[tuple[str, str], _View] = {}
        self._volume_locks: dict[str, asyncio.Lock] = {}
        self.room: Callable[[str], int | None] = lambda volume_id: None
        """Bytes that still fit on a volume, asked for each container that starts; None: no limit."""

    async def prepare(self, task_id: str, folder: Path, mounts: Sequence[VolumeMount]) -> list[Layers]:
        """Layers for a container that is about to start; `folder` becomes its own for them."""
        prepared = []
        for volume_id in dict.fromkeys(mount.volume_id for mount in mounts):
            uses = [mount for mount in mounts if mount.volume_id == volume_id]
            view = _View(
                task_id,
                volume_id,
                folder / volume_id,
                read_only=all(mount.read_only for mount in uses),
                background_commits=any(mount.background_commits for mount in uses),
                base=folder / volume_id / "0-base",
                space=self.room(volume_id),
            )
            async with self._volume_lock(volume_id):
                await asyncio.to_thread(snapshot, self._committed(volume_id), view.base)
            if not view.read_only:
                view.upper = view.fresh_upper()
            prepared.append(view.layers(None if view.read_only else view.upper, [view.base]))
            for mount in uses:
                if mount.sub_path.strip("/") and not view.read_only and view.space is None:
                    (view.upper / mount.sub_path.strip("/")).mkdir(parents=True, exist_ok=True)
            self._views[task_id, volume_id] = view
        return prepared

    def started(self, task_id: str, process: ContainerProcess) -> None:
        """The container runs with the prepared layers mounted."""
        for view in self._of(task_id):
            view.process = process

    async def commit(self, task_id: str, volume_id: str) -> None:
        """See `seams.VolumeViews`. Like Modal's, it also shows others' commits, unless files are open. KeyError when
        the container doesn't mount the volume."""
        view = self._views[task_id, volume_id]
        async with view.lock:
            if view.read_only or view.process is None or view.process.ended:
                return
            if await self._freeze(view):
                with contextlib.suppress(OpenFiles):
                    await self._rebase(view)
            else:
                await self._publish_in_use(view, skip_open=False)

    async def reload(self, task_id: str, volume_id: str) -> None:
        """See `seams.VolumeViews`. KeyError when the container doesn't mount the volume."""
        view = self._views[task_id, volume_id]
        async with view.lock:
            if not view.read_only and not await self._freeze(view):
                raise OpenFiles(volume_id)
            await self._rebase(view)

    async def commit_in_background(self) -> None:
        """One round: what the containers wrote since the last one. What is being written right now waits."""
        for view in list(self._views.values()):
            if not view.background_commits or view.read_only or view.process is None:
                continue
            async with view.lock:
                if view.process.ended or await asyncio.to_thread(is_empty, view.seen(view.upper)):
                    continue
                try:
                    if not await self._freeze(view):
                        await self._publish_in_use(view, skip_open=True)
                    elif len(view.frozen) > _MOST_FROZEN:
                        await self._merge_frozen(view)
                except OSError as error:
                    _log.warning("background commit of %s from %s failed: %s", view.volume_id, view.task_id, error)

    async def ended(self, task_id: str) -> None:
        """The container is gone: commits what it left (volumes with background commits) and forgets its views."""
        for view in self._of(task_id):
            async with view.lock:
                if view.background_commits and not view.read_only:
                    try:
                        await self._publish(view, view.upper, [*view.frozen, view.base], None)
                    except OSError as error:
                        _log.warning("last commit of %s from %s failed: %s", view.volume_id, task_id, error)
                self._views.pop((task_id, view.volume_id), None)

    # -- what the above are made of

    async def _freeze(self, view: _View) -> bool:
        """Swaps the writing layer for a fresh one and publishes the old; False if that fails because files are open."""
        if await asyncio.to_thread(is_empty, view.seen(view.upper)):
            return True
        if view.space is not None:
            view.space = max(0, view.space - await asyncio.to_thread(size_of, view.seen(view.upper)))
        upper = view.fresh_upper()
        lowers = [view.upper, *view.frozen, view.base]
        if not await self._swap(view, view.layers(upper, lowers)):
            return False
        full, view.upper = view.upper, upper
        below = [*view.frozen, view.base]
        view.frozen.insert(0, full)
        await self._publish(view, full, below, None)
        view.published = {}
        return True

    async def _rebase(self, view: _View) -> None:
        """Shows the latest commits. Raises OpenFiles."""
        base = view.fresh("base")
        async with self._volume_lock(view.volume_id):
            await asyncio.to_thread(snapshot, self._committed(view.volume_id), base)
        if view.read_only:
            if not await self._swap(view, view.layers(None, [base])):
                await asyncio.to_thread(delete_tree, base)
                raise OpenFiles(view.volume_id)
            old, view.base = view.base, base
            await asyncio.to_thread(delete_tree, old)
        elif not await self._move_to(view, base):
            raise OpenFiles(view.volume_id)

    async def _merge_frozen(self, view: _View) -> None:
        """Replaces the frozen layers by a new base with the same content, without showing others' commits."""
        base = view.fresh("base")
        frozen = list(reversed(view.frozen))

        def build() -> None:
            snapshot(view.base, base)
            for layer in frozen:
                Publisher(view.seen(layer), [base], base, view.folder / "staging").publish()

        await asyncio.to_thread(build)
        await self._move_to(view, base)

    async def _move_to(self, view: _View, base: Path) -> bool:
        """Puts the view on a new base that holds all that its frozen layers held; False while files are open."""
        upper = view.fresh_upper()
        if not await self._swap(view, view.layers(upper, [view.upper, base])):
            await asyncio.to_thread(delete_tree, base)
            return False
        old = [*view.frozen, view.base]
        # What came into the former top layer since it was fresh goes out now.
        between, view.upper, view.base, view.frozen = view.upper, upper, base, [view.upper]
        await self._publish(view, between, old, None)
        view.published = {}
        await asyncio.to_thread(_delete, old)
        return True

    async def _publish_in_use(self, view: _View, *, skip_open: bool) -> None:
        if view.process is None:
            return
        try:
            writers = Writers(await view.process.files_being_written(view.volume_id), skip_open)
        except Gone:
            return  # its end commits the rest
        await self._publish(view, view.upper, [*view.frozen, view.base], writers)

    async def _publish(self, view: _View, layer: Path, below: list[Path], writers: Writers | None) -> None:
        target = self._committed(view.volume_id)
        async with self._volume_lock(view.volume_id):
            if not target.is_dir():
                return  # the volume has been deleted
            seen = [view.seen(path) for path in below]
            publisher = Publisher(view.seen(layer), seen, target, view.folder / "staging", view.published)
            await asyncio.to_thread(publisher.publish, writers)

    async def _swap(self, view: _View, layers: Layers) -> bool:
        """False, with nothing changed, while files are open."""
        if view.process is None:
            return False
        try:
            await view.process.swap_volume(layers)
        except OSError as error:
            if layers.upper:
                await asyncio.to_thread(_delete, [Path(layers.upper)])
            if error.errno == errno.EBUSY:
                return False
            raise
        except Gone:
            return False
        return True

    def _of(self, task_id: str) -> list[_View]:
        return [view for (task, _), view in self._views.items() if task == task_id]

    def _volume_lock(self, volume_id: str) -> asyncio.Lock:
        return self._volume_locks.setdefault(volume_id, asyncio.Lock())


def _delete(folders: list[Path]) -> None:
    for folder in folders:
        delete_tree(folder)
        delete_tree(folder.with_name(folder.name + ".work"))
