"""Verification over a real (downloaded) checkpoint and a made-up kernel artifact."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.download import download_weights
from serving.errors import ServingError
from serving.manifest import (
    MANIFEST,
    SENTINEL,
    KernelsManifest,
    ManifestFile,
    WeightsManifest,
    damaged_since,
    read_manifest,
    write_manifest,
)
from serving.recipe import Recipe
from serving.verify import check_kernels, check_weights, safetensors_names, verify
from tests.serving.conftest import MICRO, RecipeMaker, RunningHub

KEY = "sm100-0123456789abcdef"


@pytest.fixture
def ready(make_recipe: RecipeMaker, hub: RunningHub) -> tuple[Recipe, str]:
    """A recipe whose volumes hold everything, and the commit."""
    recipe = make_recipe({"model": {"repo": MICRO}})
    commit = download_weights(recipe, "main", token=hub.token, commit_volume=lambda: None)["commit"]
    folder = Path(recipe.kernel_path(KEY))
    kernel = folder / "deep_gemm" / "cache" / "kernel.1" / "kernel.cubin"
    kernel.parent.mkdir(parents=True)
    kernel.write_bytes(b"x" * 100)
    file = ManifestFile(path=kernel.relative_to(folder).as_posix(), size=100)
    write_manifest(KernelsManifest(key=KEY, created=time.time(), files=[file], bytes=100, seconds=1), folder)
    (folder / recipe.kernels.marker).write_text(KEY)
    return recipe, commit


def test_a_complete_stack_is_described(ready: tuple[Recipe, str]) -> None:
    recipe, commit = ready
    found = verify(recipe, commit, KEY)
    manifest = read_manifest(WeightsManifest, Path(recipe.model_path(commit)))
    assert manifest is not None
    assert found == {"shards": 7, "weight_bytes": manifest.bytes, "kernel_files": 1}


def drop(name: str) -> Callable[[Path, Path], None]:
    return lambda weights, kernels: next(p for p in (weights / name, kernels / name) if p.exists()).unlink()


def cut_second_shard(weights: Path, kernels: Path) -> None:
    shard = sorted(weights.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])


def empty_kernel(weights: Path, kernels: Path) -> None:
    next(kernels.rglob("*.cubin")).write_bytes(b"")


def extra_tensor_in_index(weights: Path, kernels: Path) -> None:
    index = json.loads((weights / SENTINEL).read_text())
    index["weight_map"]["model.layers.99.weight"] = min(index["weight_map"].values())
    rewrite(weights, SENTINEL, json.dumps(index).encode())


def unknown_shard_in_index(weights: Path, kernels: Path) -> None:
    index = json.loads((weights / SENTINEL).read_text())
    index["weight_map"]["x"] = "model-99999-of-00007.safetensors"
    rewrite(weights, SENTINEL, json.dumps(index).encode())


def broken_header(weights: Path, kernels: Path) -> None:
    shard = sorted(weights.glob("model-*.safetensors"))[3]
    shard.write_bytes(b"\xff" * 8 + shard.read_bytes()[8:])


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Changes a file and the manifest with it: only the content gives it away."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    next(f for f in manifest["files"] if f["path"] == name)["size"] = len(content)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (drop(SENTINEL), r"weights: .*no model\.safetensors\.index\.json.*not complete"),
        (drop("model-00003-of-00007.safetensors"), r"model-00003-of-00007\.safetensors is missing"),
        (cut_second_shard, r"model-00002-of-00007\.safetensors has [\d,]+ bytes, not [\d,]+"),
        (extra_tensor_in_index, r"model-00001-of-00007\.safetensors lacks the tensor model\.layers\.99\.weight"),
        (unknown_shard_in_index, r"model-99999-of-00007\.safetensors is in the shard index but not on the volume"),
        (broken_header, r"model-00004-of-00007\.safetensors is damaged"),
        (drop(".compiled-tiny-glm"), r"kernels: .*no \.compiled-tiny-glm"),
        (empty_kernel, r"kernel\.cubin has 0 bytes, not 100"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_next_command(
    ready: tuple[Recipe, str], damage: Callable[[Path, Path], None], expected: str
) -> None:
    recipe, commit = ready
    damage(Path(recipe.model_path(commit)), Path(recipe.kernel_path(KEY)))
    with pytest.raises(ServingError) as caught:
        verify(recipe, commit, KEY)
    assert re.search(expected, str(caught.value)), str(caught.value)
    assert "Next: pulumi refresh && pulumi up" in str(caught.value)


def test_a_missing_manifest_means_incomplete(ready: tuple[Recipe, str]) -> None:
    recipe, commit = ready
    (Path(recipe.model_path(commit)) / MANIFEST).write_text("{ cut off")
    with pytest.raises(ServingError, match="no readable"):
        check_weights(recipe, commit)
    (Path(recipe.kernel_path(KEY)) / MANIFEST).unlink()
    with pytest.raises(ServingError, match="no readable"):
        check_kernels(recipe, KEY)


def test_other_files_beside_the_artifact_do_not_matter(ready: tuple[Recipe, str]) -> None:
    recipe, commit = ready
    (Path(recipe.kernel_path(KEY)) / "triton" / "new").mkdir(parents=True)
    (Path(recipe.kernel_path(KEY)) / "triton" / "new" / "kernel.json").write_text("{}")
    verify(recipe, commit, KEY)


def test_only_files_written_after_the_manifest_are_read_again(tmp_path: Path) -> None:
    for name in ("old", "new", "same"):
        (tmp_path / name).write_bytes(b"0123")
    import hashlib
    import os

    digest = hashlib.sha256(b"0123").hexdigest()
    files = [ManifestFile(path=name, size=4, sha256=digest) for name in ("old", "new", "same")]
    write_manifest(KernelsManifest(key="k", created=0, files=files, bytes=12, seconds=0), tmp_path)
    manifest = read_manifest(KernelsManifest, tmp_path)
    assert manifest is not None
    (tmp_path / "old").write_bytes(b"3210")
    (tmp_path / "new").write_bytes(b"3210")
    written = (tmp_path / MANIFEST).stat().st_mtime
    os.utime(tmp_path / "old", (written - 10, written - 10))
    for name in ("new", "same"):
        os.utime(tmp_path / name, (written + 10, written + 10))
    assert damaged_since(manifest, tmp_path) == ["new"]
    assert damaged_since(manifest, tmp_path, ["old", "same"]) == ["old", "new"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        b"\x00" * 8,
        b"\x05" + b"\0" * 7 + b"{}",
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x02" + b"\0" * 7 + b"{}x",
    ],
)
def test_a_file_that_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ServingError, match="is damaged"):
        safetensors_names(path)
