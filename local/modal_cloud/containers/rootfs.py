"""Prepares, on the host, the scratch folder that becomes a container's `/` (mounts follow in `inside.filesystem`)."""

from __future__ import annotations

import shutil
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from local.modal_cloud.containers.inside.layout import VOLUMES
from local.modal_cloud.seams import SourceFile, VolumeMount

PRIVATE = ("/root", "/tmp", "/run", "/var/tmp", "/mnt", "/media", "/srv")
"""Folders of which a container sees its own, empty at first."""


def prepare(root: Path, files: Iterable[SourceFile], volumes: Sequence[VolumeMount], workdir: str) -> None:
    """Creates `root` with source files, links to volumes and private folders. Blocking: run it in a thread.

    Source files are copies: what a container does to them must reach neither another one nor the content store.
    Raises ValueError for paths that can't be, such as a volume inside another one.
    """
    root.mkdir(parents=True)
    for folder in PRIVATE:
        _inside(root, folder).mkdir(parents=True, exist_ok=True)
    for folder in ("/tmp", "/var/tmp"):
        _inside(root, folder).chmod(0o1777)
    for file in files:
        target = _with_parent(root, file.path)
        shutil.copyfile(file.host, target)
        target.chmod(file.mode or 0o644)
    for volume in volumes:
        link = _with_parent(root, volume.path)
        if link.is_dir() and not any(link.iterdir()):
            link.rmdir()  # one of the private folders
        if link.exists() or link.is_symlink():
            raise ValueError(f"a volume can't be mounted at {volume.path}: the image or another mount is there")
        target_path = f"{VOLUMES}/{volume.volume_id}"
        sub_path = volume.sub_path.strip("/")
        link.symlink_to(f"{target_path}/{sub_path}" if sub_path else target_path)
    if workdir.startswith(("/root", "/tmp")):
        _inside(root, workdir).mkdir(parents=True, exist_ok=True)


def interpreter_paths() -> list[str]:
    """Folders of the host that the emulator's interpreter needs, also where they lie below a private folder."""
    found = {sys.prefix, sys.base_prefix, str(Path(sys.base_prefix).resolve())}
    link = Path(sys.executable)
    for _ in range(16):  # a virtual environment's python is a link to a link to …
        found.add(str(link.parent.parent))
        if not link.is_symlink():
            break
        link = link.parent / link.readlink()
    return sorted(path for path in found if path not in {"/", "/usr"})


def editable_installs() -> list[str]:
    """Files in site-packages that put folders from elsewhere on sys.path: on Modal nothing but what the app ships is
    importable, so a container must not find them."""
    packages = Path(sysconfig.get_path("purelib"))
    masked = []
    for file in sorted(
        {*packages.glob("*.pth"), *(Path(each) / "easy-install.pth" for each in site.getsitepackages())}
    ):
        if file.is_file() and _leads_elsewhere(file, packages):
            masked.append(str(file))
    return masked


def _leads_elsewhere(file: Path, packages: Path) -> bool:
    for line in file.read_text(errors="replace").splitlines():
        line = line.strip()
        if line.startswith("import "):
            if "__editable__" in line:
                return True
        elif line and not line.startswith("#") and not (packages / line).resolve().is_relative_to(packages.resolve()):
            return True
    return False


def _with_parent(root: Path, path: str) -> Path:
    """Like `_inside`, its folder being made. Never follows a link: that would lead out of the root."""
    target = _inside(root, path)
    folder = root
    for part in target.relative_to(root).parts[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise ValueError(f"{path} lies inside another mount, /{folder.relative_to(root)}")
        folder.mkdir(exist_ok=True)
    return target


def _inside(root: Path, path: str) -> Path:
    """`path` of the container on the host. Refuses paths that would leave the root."""
    parts = Path(path).parts
    if not path.startswith("/") or ".." in parts:
        raise ValueError(f"not an absolute path: {path}")
    return root.joinpath(*parts[1:])
