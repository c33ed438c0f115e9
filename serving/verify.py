"""Is everything there that serving needs? Asked once before any GPU is paid for, and briefly at every cold start."""

from __future__ import annotations

import json
import os
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.manifest import SENTINEL, KernelsManifest, Manifest, WeightsManifest, differences, read_manifest
from serving.recipe import Recipe

_MEND = "Next: pulumi refresh && pulumi up"
_MAX_HEADER = 100_000_000


def check_weights(recipe: Recipe, commit: str) -> WeightsManifest:
    """Sentinel, manifest, and every file with its recorded size. Raises ServingError naming the first one wrong."""
    manifest = find_weights(recipe, commit)
    _refuse_differences("weights", _weights_place(recipe, commit), manifest, Path(recipe.model_path(commit)))
    return manifest


def find_weights(recipe: Recipe, commit: str) -> WeightsManifest:
    """Sentinel and manifest alone: a matter of two files. Raises ServingError."""
    folder = Path(recipe.model_path(commit))
    where = _weights_place(recipe, commit)
    if not (folder / SENTINEL).is_file():
        raise ServingError(f"weights: {where} has no {SENTINEL}: the download is not complete. {_MEND}")
    manifest = read_manifest(WeightsManifest, folder)
    if manifest is None:
        raise ServingError(f"weights: {where} has no readable .manifest.json: the download is not complete. {_MEND}")
    return manifest


def _weights_place(recipe: Recipe, commit: str) -> str:
    return f"volume {recipe.volumes.weights.name}:/{recipe.weights_folder(commit)}"


def check_kernels(recipe: Recipe, key: str) -> KernelsManifest:
    """Marker, manifest, and every file with its recorded size. Raises ServingError naming the first one wrong."""
    manifest = find_kernels(recipe, key)
    _refuse_differences("kernels", _kernels_place(recipe, key), manifest, Path(recipe.kernel_path(key)))
    return manifest


def find_kernels(recipe: Recipe, key: str) -> KernelsManifest:
    """Marker and manifest alone. Raises ServingError."""
    folder = Path(recipe.kernel_path(key))
    where = _kernels_place(recipe, key)
    if not (folder / recipe.compiling.marker).is_file():
        raise ServingError(f"kernels: {where} has no {recipe.compiling.marker}: not compiled for this key yet. {_MEND}")
    manifest = read_manifest(KernelsManifest, folder)
    if manifest is None:
        raise ServingError(f"kernels: {where} has no readable .manifest.json: compilation not complete. {_MEND}")
    return manifest


def _kernels_place(recipe: Recipe, key: str) -> str:
    return f"volume {recipe.volumes.kernels.name}:/{key}"


def _refuse_differences(kind: str, where: str, manifest: Manifest, folder: Path) -> None:
    wrong = differences(manifest, folder)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ServingError(f"{kind}: {wrong[0]}{more} in {where}. {_MEND}")


def verify(recipe: Recipe, commit: str, key: str) -> dict[str, Any]:
    """Everything above, and that the shards' own headers are sound and hold every tensor of the index.

    Returns `{"shards", "weight_bytes", "kernel_files"}` (0 for a recipe without kernels). Raises ServingError.
    """
    manifest = check_weights(recipe, commit)
    shards = check_shards(Path(recipe.model_path(commit)), manifest)
    kernel_files = len(check_kernels(recipe, key).files) if recipe.kernels else 0
    return {"shards": shards, "weight_bytes": manifest.bytes, "kernel_files": kernel_files}


def check_shards(folder: Path, manifest: WeightsManifest) -> int:
    """Number of shards that the index names; each is in the manifest and has its tensors. Raises ServingError."""
    try:
        index = json.loads((folder / SENTINEL).read_text(encoding="utf-8"))
        weight_map: dict[str, str] = dict(index["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServingError(f"weights: {folder / SENTINEL} is not a shard index ({error}). {_MEND}") from None
    tensors_by_shard: dict[str, set[str]] = defaultdict(set)
    for tensor, shard in weight_map.items():
        tensors_by_shard[shard].add(tensor)
    known = manifest.by_path()
    for shard, expected in sorted(tensors_by_shard.items()):
        if shard not in known:
            raise ServingError(f"weights: {shard} is in the shard index but not on the volume. {_MEND}")
        missing = expected - safetensors_names(folder / shard)
        if missing:
            raise ServingError(
                f"weights: {shard} lacks the tensor {min(missing)} (of {len(missing)}) that the index promises. {_MEND}"
            )
    return len(tensors_by_shard)


def safetensors_names(path: Path) -> set[str]:
    """Names of the tensors in a safetensors file, from its header; the offsets are checked against the file's size.

    Layout: 8 bytes header length (little endian), a JSON object, the tensors' bytes. Raises ServingError.
    """

    def damaged(why: str) -> ServingError:
        return ServingError(f"weights: {path} is damaged ({why}). {_MEND}")

    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise damaged(f"header of {length} bytes in a file of {size:,}")
            header = json.loads(file.read(length))
        end = max(
            (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0
        )
    except OSError as error:
        raise damaged(error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(f"unreadable header: {error}") from None
    if end != size - 8 - length:
        raise damaged(f"tensors end at byte {8 + length + end:,}, the file at {size:,}")
    return set(header) - {"__metadata__"}
