"""The folder of a kernel artifact: which files count, whether they are all there, and how it is marked complete."""

from __future__ import annotations

from pathlib import Path

from serving.engines import EngineModule
from serving.errors import ServingError
from serving.manifest import (
    KernelsManifest,
    ManifestFile,
    damaged_since,
    read_manifest,
    sha256_of,
    write_atomically,
    write_manifest,
)
from serving.recipe import Recipe

GEMM_CACHE = "deep_gemm"
"""The one cache folder that SGLang's compile tool and its pass over all GEMM shapes fill."""

_VOLATILE_SUFFIXES = (".lock", ".log", ".tmp", ".partial", ".ninja_log", ".ninja_deps")
"""Files that the caches rewrite whenever they are used: no part of the artifact."""


def engine_of(recipe: Recipe) -> str:
    """As a manifest names it."""
    return f"{recipe.engine.name} {recipe.engine.version} {recipe.engine.image}"


def complete(recipe: Recipe, key: str) -> KernelsManifest | None:
    """The artifact's manifest where marker, manifest and files agree, else None; damaged kernels are removed."""
    folder = Path(recipe.kernel_path(key))
    manifest = read_manifest(KernelsManifest, folder)
    if manifest is None or not (folder / recipe.compiling.marker).is_file():
        return None
    damaged = damaged_since(manifest, folder)
    for path in damaged:
        (folder / path).unlink(missing_ok=True)
    return None if damaged else manifest


def kernel_files(folder: Path, module: EngineModule) -> list[ManifestFile]:
    """Everything in the artifact's cache folders, volatile files left out, sorted by path."""
    files = []
    for name in module.cache_folders().values():
        for path in (folder / name).rglob("*"):
            if path.is_file() and not path.name.endswith(_VOLATILE_SUFFIXES):
                size = path.stat().st_size
                files.append(ManifestFile(path=path.relative_to(folder).as_posix(), size=size, sha256=sha256_of(path)))
    return sorted(files, key=lambda file: file.path)


def renew(manifest: KernelsManifest, folder: Path, marker: Path) -> None:
    """Written after all files: ends the suspicion that a newer file arouses."""
    write_manifest(manifest, folder)
    write_atomically(marker, f"{manifest.key}\n")


def refuse_incomplete(recipe: Recipe, key: str, files: list[ManifestFile], module: EngineModule) -> None:
    """Raises ServingError where the compile tool ended well and yet left no kernels, or empty ones."""
    kernels = [file for file in files if file.path.startswith(f"{GEMM_CACHE}/")]
    if not kernels:
        variables = ", ".join(module.cache_folders())
        raise ServingError(
            f"kernels: the compilation ended well but left nothing in {key}/{GEMM_CACHE} of volume "
            f"{recipe.volumes.kernels.name}: this engine version does not honour {variables}. "
            f"Next: check engine.version and engine.image in the recipe {recipe.name}"
        )
    empty = [file.path for file in kernels if file.size == 0]
    if empty:
        raise ServingError(
            f"kernels: {empty[0]} (of {len(empty)}) is empty: the compilation was cut off. Next: pulumi up"
        )
