"""The proof that the kernel artifact is complete: a start that compiles nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving import prime
from serving.compile import compile_kernels
from serving.engines import sglang
from serving.kernel_proof import fill_and_prove
from serving.manifest import KernelsManifest, read_manifest
from serving.verify import verify
from tests.serving.conftest import Stack


class Engine:
    """Each start takes `seconds` and compiles what the next entry of `compiles` says."""

    def __init__(self, compiles: list[dict[str, str]], seconds: float = 100, lines: list[list[str]] | None = None):
        self.compiles = compiles
        self.lines = lines or [[] for _ in compiles]
        self.seconds = seconds
        self.now = 0.0
        self.starts: list[tuple[bool, float]] = []
        self.files: dict[str, str] = {}
        self.said: list[str] = []

    def start(self, proven: bool, seconds: float) -> list[str]:
        number = len(self.starts)
        self.starts.append((proven, seconds))
        self.now += self.seconds
        self.files |= self.compiles[number]
        return self.lines[number]

    def prove(self, seconds: float = 1000) -> list[str]:
        arguments: dict[str, Any] = {"seconds": seconds, "usd_per_second": 0.01, "report": self.said.append}
        return fill_and_prove(self.start, lambda: dict(self.files), clock=lambda: self.now, **arguments)


def test_a_second_start_that_compiles_nothing_is_the_proof() -> None:
    engine = Engine([{"a": "1", "b": "2"}, {"a": "1"}])
    assert engine.prove() == []
    assert engine.starts == [(False, 1000), (True, 900)]
    assert "at most 100 s, $1.00" in engine.said[1]
    assert engine.said[-1] == "kernels: start 2 compiled nothing"


def test_a_second_start_that_still_compiles_is_another_filling() -> None:
    engine = Engine([{"a": "1"}, {"b": "2"}, {}])
    assert engine.prove() == []
    assert [proven for proven, _ in engine.starts] == [False, True, True]
    assert "kernels: start 2 still compiled 1: b" in engine.said


@pytest.mark.parametrize(
    ("third", "lines", "uncovered"),
    [({"c": "3"}, [], ["c"]), ({"a": "other"}, [], ["a"]), ({}, ["[1/2] nvcc x", "[1/2] nvcc x"], ["[1/2] nvcc x"])],
)
def test_one_that_never_ends_is_not_proven(third: dict[str, str], lines: list[str], uncovered: list[str]) -> None:
    engine = Engine([{"a": "1"}, {"b": "2"}, third], lines=[[], [], lines])
    assert engine.prove() == uncovered
    assert len(engine.starts) == 3


@pytest.mark.parametrize(
    ("line", "compiles"),
    [
        ("[1/2] /usr/local/cuda/bin/nvcc --generate-dependencies-with-compile", True),
        ("[2/2] c++ main.o -shared -o sgl_kernel_jit.so", True),
        ("[2026-11-21 11:07:30] Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=4096, K=2048", True),
        ("[2026-11-21 11:07:29] Capture draft extend CUDA graph begin. backend=full", False),
        ("Loading safetensors checkpoint shards: [1/2] done", False),
    ],
)
def test_lines_that_tell_of_compiling(line: str, compiles: bool) -> None:
    assert bool(sglang.COMPILING_LINE.search(line)) is compiles


def test_without_time_for_it_there_is_no_proof_and_no_wasted_start() -> None:
    engine = Engine([{"a": "1"}])
    assert engine.prove(seconds=210) == ["kernels.timeout leaves no time for start 2"]
    assert len(engine.starts) == 1


def test_a_cache_left_unfilled_is_found_by_the_second_start_and_filled(
    stack: Stack, container_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = prime.ask_all_sizes, []

    def not_at_first(*arguments: Any, **more: Any) -> None:
        asked.append(True)
        if len(asked) > 1:
            real(*arguments, **more)

    monkeypatch.setattr(prime, "ask_all_sizes", not_at_first)
    lines: list[str] = []
    quiet: dict[str, Any] = {"out": lambda _: None, "commit_volume": lambda: None}
    compile_kernels(
        stack.recipe, stack.commit, stack.key, report=lines.append, environment=container_environment, **quiet
    )
    assert len(asked) == 3
    assert any(line.startswith("kernels: start 2 still compiled ") for line in lines), lines
    assert "kernels: start 3 compiled nothing" in lines
    manifest = read_manifest(KernelsManifest, Path(stack.recipe.kernel_path(stack.key)))
    assert manifest is not None
    assert manifest.proven
    assert verify(stack.recipe, stack.commit, stack.key)["kernel_files"] == len(manifest.files)


def test_one_that_could_not_be_proven_is_complete_and_says_so(
    stack: Stack, container_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.compile.fill_and_prove", lambda start, contents, **more: ["triton/x.cubin"])
    lines: list[str] = []
    quiet: dict[str, Any] = {"out": lambda _: None, "commit_volume": lambda: None}
    result = compile_kernels(
        stack.recipe, stack.commit, stack.key, report=lines.append, environment=container_environment, **quiet
    )
    assert not result["proven"]
    assert lines[-1].endswith("not proven complete (triton/x.cubin): serving keeps the pass over all GEMM shapes")
    manifest = read_manifest(KernelsManifest, Path(stack.recipe.kernel_path(stack.key)))
    assert manifest is not None
    assert manifest.uncovered == ["triton/x.cubin"]
