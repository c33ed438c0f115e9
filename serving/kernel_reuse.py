"""GEMM kernels that the volume already has under another key: they are copied, not compiled again.

DeepGEMM names a kernel's folder by a hash of all that it was compiled from: its own version, the compiler's flags and
the code. Weights and most serving flags are not among them, on Hopper not even the layers' widths. So a copy is right
wherever its name is asked for, and one that nobody asks for does no harm. The other caches record absolute paths and
stay where they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from serving.engines import EngineModule
from serving.kernel_artifact import GEMM_CACHE
from serving.manifest import KernelsManifest, ManifestFile, read_manifest, sha256_of
from serving.recipe import Recipe

_PARTIAL = ".partial"


def take_gemm_kernels(recipe: Recipe, key: str, module: EngineModule) -> tuple[str, int] | None:
    """Copies those that folder `key` lacks from the newest complete artifact for the same GPU architecture.

    Returns that artifact's key and the number of kernels copied; None where there is nothing to copy. A kernel appears
    by a rename of its folder; one whose files are not what the manifest says is left out.
    """
    folder = Path(recipe.kernel_path(key))
    for cut_off in (folder / GEMM_CACHE).rglob(f"*{_PARTIAL}"):
        shutil.rmtree(cut_off)
    newest = _newest(folder)
    if GEMM_CACHE not in module.cache_folders().values() or newest is None:
        return None
    taken = 0
    for place, files in _by_folder(newest).items():
        source, target = folder.parent / newest.key / place, folder / place
        partial = target.with_name(target.name + _PARTIAL)
        if not target.exists() and _intact(source, files):
            partial.mkdir(parents=True)
            for file in files:
                shutil.copy2(source / PurePosixPath(file.path).name, partial)
            partial.rename(target)
            taken += 1
    return (newest.key, taken) if taken else None


def _newest(folder: Path) -> KernelsManifest | None:
    architecture = folder.name.partition("-")[0]
    others = [other for other in folder.parent.glob(f"{architecture}-*") if other != folder]
    manifests = [manifest for other in others if (manifest := read_manifest(KernelsManifest, other))]
    return max(manifests, key=lambda manifest: manifest.created, default=None)


def _by_folder(manifest: KernelsManifest) -> dict[PurePosixPath, list[ManifestFile]]:
    found: dict[PurePosixPath, list[ManifestFile]] = {}
    for file in manifest.files:
        path = PurePosixPath(file.path)
        if path.parts[0] == GEMM_CACHE and path.parent.name.startswith("kernel."):
            found.setdefault(path.parent, []).append(file)
    return found


def _intact(source: Path, files: list[ManifestFile]) -> bool:
    try:
        return all(sha256_of(source / PurePosixPath(file.path).name) == file.sha256 for file in files)
    except OSError:
        return False
