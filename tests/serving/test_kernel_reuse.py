"""A new kernel key does not compile again what the volume has under another one."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.compile import compile_kernels
from serving.kernel_reuse import take_gemm_kernels
from serving.manifest import MANIFEST
from serving.recipe import kernel_key
from tests.serving.conftest import Stack


@pytest.fixture
def changed(stack: Stack, compiled: Callable[[Stack], None]) -> Stack:
    """Beside a complete artifact, the same stack with a flag that asks for a key of its own."""
    compiled(stack)
    recipe = stack.recipe.with_engine_args({"max-running-requests": 8})
    return Stack(recipe, stack.commit, kernel_key(recipe, stack.commit))


def kernels_of(stack: Stack) -> dict[str, Path]:
    """The compiled file of each GEMM kernel, by the kernel's name."""
    return {path.parent.name: path for path in Path(stack.recipe.kernel_path(stack.key)).rglob("kernel.*/kernel.cubin")}


def take(stack: Stack) -> tuple[str, int] | None:
    return take_gemm_kernels(stack.recipe, stack.key)


def rewrite_manifest(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def test_what_another_key_has_is_copied_and_not_compiled(
    stack: Stack, changed: Stack, container_environment: dict[str, str]
) -> None:
    there = {name: path.stat().st_mtime_ns for name, path in kernels_of(stack).items()}
    lines: list[str] = []
    quiet: dict[str, Any] = {"commit_volume": lambda: None, "out": lambda _: None, "report": lines.append}
    result = compile_kernels(changed.recipe, changed.commit, changed.key, environment=container_environment, **quiet)
    assert changed.key != stack.key
    assert {name: path.stat().st_mtime_ns for name, path in kernels_of(changed).items()} == there
    assert f"kernels: took over {len(there)} GEMM kernels from {stack.key}; only others are compiled" in lines
    assert result["proven"]


def test_the_newest_artifact_gives_them(stack: Stack, changed: Stack) -> None:
    newest = Path(stack.recipe.kernel_path(f"{stack.key[:-4]}beef"))
    shutil.copytree(stack.recipe.kernel_path(stack.key), newest)
    rewrite_manifest(newest, key=newest.name, created=time.time() + 1)
    assert take(changed) == (newest.name, len(kernels_of(stack)))


def test_a_damaged_kernel_is_left_out(stack: Stack, changed: Stack) -> None:
    name, path = next(iter(kernels_of(stack).items()))
    path.write_bytes(b"\0" * path.stat().st_size)
    assert take(changed) == (stack.key, len(kernels_of(stack)) - 1)
    assert name not in kernels_of(changed)


def test_one_that_is_gone_is_left_out(stack: Stack, changed: Stack) -> None:
    _, path = next(iter(kernels_of(stack).items()))
    path.unlink()
    assert take(changed) == (stack.key, len(kernels_of(stack)))


def test_what_is_there_stays_and_what_a_kill_left_goes(stack: Stack, changed: Stack) -> None:
    assert take(changed)
    kept, *_ = kernels_of(changed).values()
    kept.write_bytes(b"its own")
    cut_off = kept.parents[1] / "kernel.half.partial"
    cut_off.mkdir()
    assert take(changed) is None
    assert kept.read_bytes() == b"its own"
    assert not cut_off.exists()


def test_half_of_a_kernel_is_made_whole(stack: Stack, changed: Stack) -> None:
    assert take(changed)
    name, half = next(iter(kernels_of(changed).items()))
    half.unlink()
    assert take(changed) == (stack.key, 1)
    assert kernels_of(changed)[name].read_bytes() == kernels_of(stack)[name].read_bytes()


def test_without_room_for_copies_nothing_is_left_of_them(
    stack: Stack, changed: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"as far as it went")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    assert take(changed) is None
    assert not list(Path(changed.recipe.kernel_path(changed.key)).rglob("kernel.*"))


def test_an_artifact_without_its_manifest_gives_none(stack: Stack, changed: Stack) -> None:
    (Path(stack.recipe.kernel_path(stack.key)) / MANIFEST).unlink()
    assert take(changed) is None


@pytest.mark.parametrize("engine", ["sglang 0.4.9 lmsysorg/sglang:v0.4.9", ""], ids=["another", "unknown"])
def test_nor_does_one_of_an_engine_that_is_not_this_one(stack: Stack, changed: Stack, engine: str) -> None:
    rewrite_manifest(Path(stack.recipe.kernel_path(stack.key)), engine=engine)
    assert take(changed) is None


def test_nor_does_one_for_other_gpus(stack: Stack, changed: Stack) -> None:
    folder = Path(stack.recipe.kernel_path(stack.key))
    other = folder.with_name(f"sm90-{folder.name.partition('-')[2]}")
    folder.rename(other)
    rewrite_manifest(other, key=other.name)
    assert take(changed) is None
