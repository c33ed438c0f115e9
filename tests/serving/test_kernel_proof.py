"""The proof that the kernel artifact is complete: a start that compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving import prime
from serving.compile import compile_kernels
from serving.engines import sglang
from serving.errors import ServingError
from serving.kernel_proof import fill_and_prove, prove_again, reasons
from serving.manifest import MANIFEST, KernelsManifest, read_manifest, write_manifest
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

    def prove_again(self, seconds: float = 1000) -> list[str]:
        arguments: dict[str, Any] = {"seconds": seconds, "usd_per_second": 0.01, "report": self.said.append}
        return prove_again(self.start, lambda: dict(self.files), clock=lambda: self.now, **arguments)


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


@pytest.mark.parametrize("seconds", [0, -3.5])
def test_with_no_time_left_no_start_is_made_and_the_error_names_the_setting(seconds: float) -> None:
    engine = Engine([{}])
    with pytest.raises(ServingError, match=r"took all of kernels\.timeout.*Next: raise kernels\.timeout"):
        engine.prove(seconds=seconds)
    assert engine.starts == []


def test_a_proof_made_later_leaves_the_first_start_out() -> None:
    engine = Engine([{"a": "1"}, {}])
    assert engine.prove_again() == []
    assert engine.starts == [(True, 1000), (True, 900)]
    assert "start 1 of at most 2" in engine.said[0]
    assert "at most 1000 s, $10.00" in engine.said[0]
    assert engine.said[-1] == "kernels: start 2 compiled nothing"


@pytest.mark.parametrize(
    ("seconds", "starts", "uncovered"),
    [
        (210, 1, ["a", "kernels.timeout leaves no time for start 2"]),
        (1000, 2, ["b"]),
        (0, 0, ["kernels.timeout leaves no time for start 1"]),
    ],
)
def test_a_proof_made_later_can_come_to_nothing(seconds: float, starts: int, uncovered: list[str]) -> None:
    engine = Engine([{"a": "1"}, {"b": "1"}])
    assert engine.prove_again(seconds) == uncovered
    assert len(engine.starts) == starts


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


@pytest.mark.parametrize(
    ("uncovered", "against"),
    [
        ([], []),
        (["triton/A/__grp___get_k_and_s_triton_kernel.json", "tvm-ffi/x.so"], []),
        (["triton/A/x.cubin", "deep_gemm/cache/kernel.a/kernel.cubin"], ["deep_gemm/cache/kernel.a/kernel.cubin"]),
        (["tvm-ffi/x.so", "[1/2] /usr/local/cuda/bin/nvcc x"], ["[1/2] /usr/local/cuda/bin/nvcc x"]),
        (
            ["triton/A/x.cubin", "kernels.timeout leaves no time for start 3"],
            ["kernels.timeout leaves no time for start 3"],
        ),
        (["the start to prove it failed: triton/x"], ["the start to prove it failed: triton/x"]),
    ],
)
def test_only_what_the_pass_compiles_is_a_reason_to_keep_it(uncovered: list[str], against: list[str]) -> None:
    assert reasons(uncovered, {"triton", "tvm-ffi", "flashinfer"}) == against


@pytest.mark.parametrize(
    ("uncovered", "proven", "end"),
    [
        (
            ["triton/a.json", "deep_gemm/x.cubin"],
            False,
            "not proven complete (deep_gemm/x.cubin): serving keeps the pass over all GEMM shapes",
        ),
        (["triton/a.json"], True, "GEMM kernels proven complete; 1 files came to other caches in the last start"),
    ],
)
def test_what_could_not_be_proven_is_complete_and_says_so(
    stack: Stack,
    container_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    uncovered: list[str],
    proven: bool,
    end: str,
) -> None:
    monkeypatch.setattr("serving.compile.fill_and_prove", lambda start, contents, **more: uncovered)
    lines: list[str] = []
    quiet: dict[str, Any] = {"out": lambda _: None, "commit_volume": lambda: None}
    result = compile_kernels(
        stack.recipe, stack.commit, stack.key, report=lines.append, environment=container_environment, **quiet
    )
    assert result["proven"] is proven
    assert lines[-1].endswith(end)
    manifest = read_manifest(KernelsManifest, Path(stack.recipe.kernel_path(stack.key)))
    assert manifest is not None
    assert manifest.uncovered == sorted(uncovered)


@pytest.fixture
def unproven(stack: Stack, compiled: Callable[[Stack], None]) -> Stack:
    """Complete kernels that nobody has proven, as where the time for the proof ran out."""
    compiled(stack)
    folder = Path(stack.recipe.kernel_path(stack.key))
    manifest = read_manifest(KernelsManifest, folder)
    assert manifest is not None
    uncovered = ["kernels.timeout leaves no time for start 2"]
    write_manifest(manifest.model_copy(update={"proven": False, "uncovered": uncovered}), folder)
    return stack


def compile_again(stack: Stack, environment: dict[str, str]) -> tuple[dict[str, Any], list[str], list[bool]]:
    """Result, progress lines, and whether there was a marker at each commit of the volume."""
    folder = Path(stack.recipe.kernel_path(stack.key))
    lines: list[str] = []
    marked: list[bool] = []
    arguments: dict[str, Any] = {
        "commit_volume": lambda: marked.append((folder / stack.recipe.compiling.marker).is_file()),
        "report": lines.append,
        "out": lambda _: None,
    }
    result = compile_kernels(stack.recipe, stack.commit, stack.key, environment=environment, **arguments)
    return result, lines, marked


def test_an_unproven_one_is_proven_later_and_never_without_its_marker(
    unproven: Stack, container_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(unproven.recipe.kernel_path(unproven.key))
    real, marked_meanwhile = prime.ask_all_sizes, []

    def look(*arguments: Any, **more: Any) -> None:
        marked_meanwhile.append((folder / unproven.recipe.compiling.marker).is_file())
        real(*arguments, **more)

    monkeypatch.setattr(prime, "ask_all_sizes", look)
    result, lines, marked = compile_again(unproven, container_environment)
    assert result["proven"]
    assert not result["skipped"]
    assert marked_meanwhile == [True]
    assert marked == [True]
    assert "complete, not proven; at most two starts to prove it, at most" in lines[0]
    assert "$" in lines[0]
    assert not any("compiling on" in line for line in lines)
    assert lines[-1].endswith("· proven complete")
    assert verify(unproven.recipe, unproven.commit, unproven.key)["kernel_files"] == result["files"]
    again, lines, marked = compile_again(unproven, container_environment)
    assert again["skipped"]
    assert "already complete, proven" in lines[-1]


def test_a_proof_start_that_fails_takes_nothing_away(unproven: Stack, container_environment: dict[str, str]) -> None:
    manifest = Path(unproven.recipe.kernel_path(unproven.key)) / MANIFEST
    before = manifest.read_text()
    result, lines, marked = compile_again(unproven, {**container_environment, "STANDIN_FAULT": "die-at-load"})
    assert not result["proven"]
    assert marked == [True]
    assert "not proven complete (the start to prove it failed: SGLang died while starting" in lines[-1]
    assert manifest.read_text() == before
    assert verify(unproven.recipe, unproven.commit, unproven.key)["kernel_files"] == result["files"]
