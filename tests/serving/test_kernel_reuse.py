"""A new kernel key does not compile again what the volume has under another one."""

from __future__ import annotations

import json
import shutil
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
    return take_gemm_kernels(stack.recipe, stack.key, stack.recipe.engine_module)


def test_what_another_key_has_is_copied_and_not_compiled(
    stack: Stack, changed: Stack, container_environment: dict[str, str]
) -> None:
    there = {name: path.stat().st_mtime_ns for name, path in kernels_of(stack).items()}
    lines: list[str] = []
    quiet: dict[str, Any] = {"commit_volume": lambda: None, "out": lambda _: None, "report": lines.append}
    result = compile_kernels(changed.recipe, changed.commit, changed.key, environment=container_environment, **quiet)
    assert changed.key != stack.key
    assert {name: path.stat().st_mtime_ns for name, path in kernels_of(changed).items()} == there
    assert f"kernels: {len(there)} GEMM kernels are those of {stack.key}; only what it lacks is compiled" in lines
    assert result["proven"]


def test_the_newest_artifact_gives_them(stack: Stack, changed: Stack) -> None:
    newest = Path(stack.recipe.kernel_path(f"{stack.key[:-4]}beef"))
    shutil.copytree(stack.recipe.kernel_path(stack.key), newest)
    manifest = json.loads((newest / MANIFEST).read_text())
    (newest / MANIFEST).write_text(json.dumps({**manifest, "key": newest.name, "created": manifest["created"] + 1}))
    assert take(changed) == (newest.name, len(kernels_of(stack)))


def test_a_damaged_kernel_is_left_out(stack: Stack, changed: Stack) -> None:
    name, path = next(iter(kernels_of(stack).items()))
    path.write_bytes(b"\0" * path.stat().st_size)
    assert take(changed) == (stack.key, len(kernels_of(stack)) - 1)
    assert name not in kernels_of(changed)


def test_what_is_there_stays_and_what_a_kill_left_goes(stack: Stack, changed: Stack) -> None:
    assert take(changed)
    kept, *_ = kernels_of(changed).values()
    kept.write_bytes(b"its own")
    cut_off = kept.parents[1] / "kernel.half.partial"
    cut_off.mkdir()
    assert take(changed) is None
    assert kept.read_bytes() == b"its own"
    assert not cut_off.exists()


def test_an_artifact_without_its_manifest_gives_none(stack: Stack, changed: Stack) -> None:
    (Path(stack.recipe.kernel_path(stack.key)) / MANIFEST).unlink()
    assert take(changed) is None


def test_nor_does_one_for_other_gpus(stack: Stack, changed: Stack) -> None:
    folder = Path(stack.recipe.kernel_path(stack.key))
    folder.rename(folder.with_name(f"sm90-{folder.name.partition('-')[2]}"))
    assert take(changed) is None
