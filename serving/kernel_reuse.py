"""GEMM kernels that the volume already has under another key: they are copied, not compiled again.

DeepGEMM names a kernel's folder by a hash of all that it was compiled from: its own version, the compiler's flags and
the code. Weights and most serving flags are not among them, on Hopper not even the layers' widths. So a copy is right
wherever its name is asked for, and one that nobody asks for does no harm. The other caches record absolute paths and
stay where they are.

Only an artifact of the same engine and image gives any: a new image that keeps its kernels elsewhere would otherwise
find the folder filled, and nobody would notice.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from serving.kernel_artifact import GEMM_CACHE, engine_of
from serving.manifest import KernelsManifest, ManifestFile, read_manifest, sha256_of
from serving.recipe import Recipe

_PARTIAL = ".partial"


def take_gemm_kernels(recipe: Recipe, key: str) -> tuple[str, int] | None:
    """Copies those that folder `key` lacks from the newest other artifact of the same engine and GPU architecture.

    Returns its key and the number of kernels copied; None where there was nothing to copy. A kernel appears by a rename
    of its folder; one whose files are not what the manifest says, or that can't be read or written, is left out and
    compiled.
    """
    folder = Path(recipe.kernel_path(key))
    for cut_off in (folder / GEMM_CACHE).glob(f"cache/kernel.*{_PARTIAL}"):
        shutil.rmtree(cut_off, ignore_errors=True)
    donor = _newest(folder, engine_of(recipe))
    if donor is None:
        return None
    source, manifest = donor
    taken = 0
    for place, files in _kernels(manifest).items():
        if all((folder / file.path).is_file() for file in files):
            continue
        partial = folder / f"{place}{_PARTIAL}"
        try:
            if _copied(source, files, partial):
                shutil.rmtree(folder / place, ignore_errors=True)  # half of one, as a kill may leave it
                partial.rename(folder / place)
                taken += 1
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
    return (source.name, taken) if taken else None


def _newest(folder: Path, engine: str) -> tuple[Path, KernelsManifest] | None:
    architecture = folder.name.partition("-")[0]
    found = [
        (other, manifest)
        for other in folder.parent.glob(f"{architecture}-*")
        if other != folder and (manifest := read_manifest(KernelsManifest, other)) and manifest.engine == engine
    ]
    return max(found, key=lambda donor: donor[1].created, default=None)


def _kernels(manifest: KernelsManifest) -> dict[PurePosixPath, list[ManifestFile]]:
    """Each GEMM kernel's files by its folder."""
    found: dict[PurePosixPath, list[ManifestFile]] = {}
    for file in manifest.files:
        path = PurePosixPath(file.path)
        if path.parts[0] == GEMM_CACHE and path.parent.name.startswith("kernel."):
            found.setdefault(path.parent, []).append(file)
    return found


def _copied(source: Path, files: list[ManifestFile], target: Path) -> bool:
    """False, and nothing is left, where a file is not what the manifest says."""
    target.mkdir(parents=True)
    for file in files:
        copy = target / PurePosixPath(file.path).name
        shutil.copy2(source / file.path, copy)
        if sha256_of(copy) != file.sha256:
            shutil.rmtree(target)
            return False
    return True
