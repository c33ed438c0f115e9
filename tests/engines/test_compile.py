"""The compile tool: what it fills, what it says, and how it waits for a dead server."""

from __future__ import annotations

import time
from pathlib import Path

from tests.engines.conftest import KEY, Launch, assert_lines_in_order, recorded

SHAPES = recorded("shapes.json")


def test_it_fills_the_caches_and_says_so(launcher: Launch, tmp_path: Path) -> None:
    tool = launcher(module="sglang.compile_deep_gemm", kernels=tmp_path, key=False)
    assert tool.wait_exit() == 0
    assert_lines_in_order(
        tool.lines(), [*recorded("compile.txt"), "DeepGEMM Kernels compilation finished successfully."]
    )
    kernels = list((tmp_path / "deep_gemm" / "cache").glob("kernel.sm100_fp8_gemm_*/kernel.cubin"))
    assert len(kernels) == 7 * 6  # of nine shapes two pairs coincide at these dimensions; six kernels each
    for other in ("tvm-ffi", "flashinfer", "triton"):
        assert any(path.is_file() for path in (tmp_path / other).rglob("*"))
    again = launcher(module="sglang.compile_deep_gemm", kernels=tmp_path, key=False)
    assert again.wait_exit() == 0


def test_the_server_starts_from_what_it_compiled(launcher: Launch, tmp_path: Path) -> None:
    assert launcher(module="sglang.compile_deep_gemm", kernels=tmp_path, key=False).wait_exit() == 0
    before = {path for path in (tmp_path / "deep_gemm").rglob("*") if path.is_file()}
    engine = launcher(kernels=tmp_path, SGLANG_JIT_DEEPGEMM_PRECOMPILE="1")
    engine.wait_ready()
    assert {path for path in (tmp_path / "deep_gemm").rglob("*") if path.is_file()} == before


def test_it_takes_server_options_and_its_own(launcher: Launch, tmp_path: Path) -> None:
    tool = launcher("--timeout", "never", module="sglang.compile_deep_gemm", kernels=tmp_path, key=False)
    assert tool.wait_exit() == 2
    assert "argument --timeout: invalid int value" in tool.log
    server = launcher("--timeout", "5", kernels=tmp_path)
    assert server.wait_exit() == 2


def test_it_does_not_open_the_config_file(launcher: Launch, tmp_path: Path) -> None:
    tool = launcher("--config", "/nowhere.yaml", module="sglang.compile_deep_gemm", kernels=tmp_path, key=False)
    assert tool.wait_exit() == 0
    assert KEY not in tool.log


def test_with_a_key_its_own_requests_are_refused_until_it_gives_up(launcher: Launch, tmp_path: Path) -> None:
    tool = launcher("--api-key", KEY, "--timeout", "2", module="sglang.compile_deep_gemm", kernels=tmp_path, key=False)
    assert tool.wait_exit() == 1
    assert '"GET /v1/models HTTP/1.1" 401' in tool.log
    assert "TimeoutError: DeepGEMM Kernels compilation timeout." in tool.log


def test_it_polls_a_dead_server_until_its_time_out(launcher: Launch, tmp_path: Path) -> None:
    began = time.monotonic()
    tool = launcher(
        "--timeout", "2", module="sglang.compile_deep_gemm", kernels=tmp_path, key=False, STANDIN_FAULT="die-at-load"
    )
    assert tool.wait_exit() == 1
    assert time.monotonic() - began >= 2
    assert "Scheduler hit an exception" in tool.log
