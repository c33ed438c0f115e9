"""Finds out at start whether this machine can isolate containers, so that the reason is told once and clearly."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from local.modal_cloud.containers import rootfs
from local.modal_cloud.containers.inside.layout import Layers, Layout
from local.modal_cloud.containers.process import ContainerProcess
from local.modal_cloud.containers.volume_layers import delete_tree
from local.modal_cloud.seams import VolumeMount


class CannotIsolate(Exception):
    """One line: why, and what would have to change."""


async def check(folder: Path, state_folder: Path, *, user_namespace: bool) -> None:
    """Runs the interpreter in a container with a volume, in `folder` (removed again). Raises CannotIsolate."""
    volume = "vo-probe"
    layers = Layers(volume, [str(folder / "lower")], str(folder / "upper"), str(folder / "work"))
    try:
        await asyncio.to_thread(rootfs.prepare, folder / "root", (), [VolumeMount(volume, "/probe")], "/root")
        for name in ("lower", "upper", "work", "runtime"):
            (folder / name).mkdir()
        layout = Layout(
            user_namespace=user_namespace,
            root=str(folder / "root"),
            private=list(rootfs.PRIVATE),
            exposed=rootfs.interpreter_paths(),
            hidden=[str(state_folder)],
            masked=rootfs.editable_installs(),
            runtime=str(folder / "runtime"),
            volumes=[layers],
            ports=[],
            argv=[sys.executable, "-I", "-S", "-c", "open('/probe/works', 'x')"],
            workdir="/root",
            environment={},
        )
        said: list[str] = []
        process = await ContainerProcess.start(layout, lambda _, text: said.append(text))
        if await process.wait() != 0:
            raise CannotIsolate(_explain("".join(said).strip().rpartition("\n")[2], user_namespace))
    except OSError as error:
        raise CannotIsolate(_explain(str(error), user_namespace)) from None
    finally:
        await asyncio.to_thread(delete_tree, folder)


def _explain(reason: str, user_namespace: bool) -> str:
    if reason.startswith("[Errno"):
        reason = reason.partition("] ")[2]
    if "overlay" in reason:
        need = "the state folder must be on a plain file system such as ext4, xfs or btrfs: choose another with --dir"
    elif user_namespace:
        need = (
            "needed are root, or Linux 5.12 and user namespaces for ordinary users (sysctls user.max_user_namespaces,"
            " kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        )
    else:
        need = "needed is Linux 5.12 or later"
    return f"containers can't be isolated on this machine ({reason}): {need}"
