"""Compilation with the engine stand-in's real command: complete, resumable, never looking complete when it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.compile import compile_kernels
from serving.engines import sglang
from serving.errors import ServingError
from serving.manifest import MANIFEST
from serving.verify import check_kernels
from tests.serving.conftest import API_KEY, REPO_ROOT, Stack, processes_with


def run(stack: Stack, environment: dict[str, str]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Result, progress lines, log lines."""
    lines: list[str] = []
    log: list[str] = []
    arguments: dict[str, Any] = {"commit_volume": lambda: None, "report": lines.append, "out": log.append}
    result = compile_kernels(stack.recipe, stack.commit, stack.key, environment=environment, **arguments)
    return result, lines, log


def folder_of(stack: Stack) -> Path:
    return Path(stack.recipe.kernel_path(stack.key))


def test_all_caches_are_filled_and_the_marker_comes_last(stack: Stack, container_environment: dict[str, str]) -> None:
    seen: list[tuple[bool, bool]] = []
    folder = folder_of(stack)
    marker = folder / ".compiled-tiny-glm"
    lines: list[str] = []
    result = compile_kernels(
        stack.recipe,
        stack.commit,
        stack.key,
        commit_volume=lambda: seen.append(((folder / MANIFEST).exists(), marker.exists())),
        report=lines.append,
        out=lambda _: None,
        environment=container_environment,
    )
    assert seen == [(False, False)] * 3 + [(True, False), (True, True)]  # the tool, two starts, the end
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["key"] == result["key"] == stack.key
    assert result["files"] == len(manifest["files"]) > 0
    assert not result["skipped"]
    assert {file["path"].split("/")[0] for file in manifest["files"]} == {
        "deep_gemm",
        "tvm-ffi",
        "flashinfer",
        "triton",
    }
    assert all(file["size"] == (folder / file["path"]).stat().st_size > 0 for file in manifest["files"])
    assert "about $" in lines[0]
    assert "8 × B200" in lines[0]
    assert lines[-1].startswith(f"kernels: {result['files']} files")
    assert check_kernels(stack.recipe, stack.key).proven
    assert result["proven"]
    asked = next(line for line in lines if "to prove that nothing is left to compile" in line)
    assert "$" in asked
    assert lines.index(asked) < lines.index("kernels: start 2 compiled nothing")
    assert lines[-1].endswith("· proven complete")


def test_a_complete_artifact_is_not_compiled_again(
    stack: Stack, compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> None:
    compiled(stack)
    manifest = json.loads((folder_of(stack) / MANIFEST).read_text())
    began = time.monotonic()
    second, lines, log = run(stack, container_environment)
    assert second["skipped"]
    assert second["files"] == len(manifest["files"])
    assert time.monotonic() - began < 1
    assert log == []
    assert "already complete" in lines[-1]


def test_an_earlier_manifest_that_is_renewed_keeps_its_text(
    stack: Stack, compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> None:
    """Its hash is part of what is deployed: one more field would ask for another version of the app."""
    compiled(stack)
    written = folder_of(stack) / MANIFEST
    earlier = json.loads(written.read_text())
    del earlier["engine"]
    text = json.dumps(earlier, indent=1) + "\n"
    written.write_text(text)
    newer = folder_of(stack) / earlier["files"][0]["path"]
    os.utime(newer, (time.time() + 5, time.time() + 5))
    before = written.stat().st_mtime_ns
    again, _, _ = run(stack, container_environment)
    assert again["skipped"]
    assert written.stat().st_mtime_ns > before
    assert written.read_text() == text


def test_without_its_marker_it_is_compiled_again(
    stack: Stack, compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> None:
    compiled(stack)
    (folder_of(stack) / ".compiled-tiny-glm").unlink()
    again, _, _ = run(stack, container_environment)
    assert not again["skipped"]
    check_kernels(stack.recipe, stack.key)


def test_a_damaged_kernel_is_made_anew(
    stack: Stack, compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> None:
    compiled(stack)
    manifest = json.loads((folder_of(stack) / MANIFEST).read_text())
    kernel = folder_of(stack) / max(manifest["files"], key=lambda file: file["size"])["path"]
    content = kernel.read_bytes()
    kernel.write_bytes(b"\0" * len(content))
    later = time.time() + 5
    os.utime(kernel, (later, later))
    again, _, _ = run(stack, container_environment)
    assert not again["skipped"]
    assert kernel.read_bytes() == content


def test_the_key_stays_out_of_arguments_environment_and_log(
    stack: Stack, container_environment: dict[str, str], monkeypatch: Any
) -> None:
    seen: list[str] = []
    real = subprocess.Popen

    def spy(argv: list[str], **more: Any) -> Any:
        seen.extend(argv)
        seen.extend(f"{name}={value}" for name, value in more["env"].items())
        return real(argv, **more)

    monkeypatch.setattr(subprocess, "Popen", spy)
    _, lines, log = run(stack, container_environment)
    assert any(word.endswith("compile_deep_gemm") for word in seen)
    assert not any(API_KEY in text for text in (*seen, *lines, *log))


@pytest.mark.parametrize("fault", ["die-at-load", "oom-at-load", "scheduler-oom-at-load"])
def test_a_dead_server_is_noticed_although_the_tool_waits_on(
    stack: Stack, container_environment: dict[str, str], fault: str
) -> None:
    began = time.monotonic()
    with pytest.raises(ServingError, match=r"kernels: the compile tool's server (died|failed).*Next: ") as caught:
        run(stack, {**container_environment, "STANDIN_FAULT": fault})
    assert time.monotonic() - began < 30
    assert "\n" not in str(caught.value)
    assert not (folder_of(stack) / ".compiled-tiny-glm").exists()
    assert not (folder_of(stack) / MANIFEST).exists()
    assert not processes_with(stack.recipe.model_path(stack.commit))


def test_an_unknown_flag_is_named(make_stack: Callable[..., Stack], container_environment: dict[str, str]) -> None:
    stack = make_stack()
    stack.recipe = stack.recipe.with_engine_args({"no-such-flag": 3})
    with pytest.raises(ServingError, match=r"unrecognized arguments: --no-such-flag"):
        run(stack, container_environment)


def test_a_tool_that_writes_nowhere_we_know_is_refused(
    stack: Stack, container_environment: dict[str, str], monkeypatch: Any, tmp_path: Path
) -> None:
    real = sglang.engine_environment
    elsewhere = str(tmp_path / "elsewhere")
    monkeypatch.setattr(sglang, "engine_environment", lambda recipe, _path, **more: real(recipe, elsewhere, **more))
    with pytest.raises(ServingError, match=r"left nothing in .*SGLANG_DG_CACHE_DIR"):
        run(stack, container_environment)
    assert not (folder_of(stack) / ".compiled-tiny-glm").exists()


def test_weights_must_be_there_first(stack: Stack, container_environment: dict[str, str]) -> None:
    (Path(stack.recipe.model_path(stack.commit)) / MANIFEST).unlink()
    with pytest.raises(ServingError, match=r"weights: .*download is not complete"):
        run(stack, container_environment)


def test_one_that_takes_too_long_is_ended(
    make_stack: Callable[..., Stack], container_environment: dict[str, str]
) -> None:
    stack = make_stack({"kernels": {"timeout": 2}})
    with pytest.raises(ServingError, match=r"not finished within 2 s"):
        run(stack, {**container_environment, "STANDIN_SPEED": "0.5"})
    assert not processes_with(stack.recipe.model_path(stack.commit))


def test_a_killed_compilation_does_not_look_complete_and_is_resumed(
    stack: Stack, container_environment: dict[str, str]
) -> None:
    program = (
        "import os, sys; from serving.compile import compile_kernels; from serving.recipe import Recipe;"
        "compile_kernels(Recipe.model_validate_json(sys.argv[1]), *sys.argv[2:], commit_volume=lambda: None)"
    )
    arguments = [stack.recipe.model_dump_json(by_alias=True), stack.commit, stack.key]
    environment = {**container_environment, "STANDIN_SPEED": "20"}
    environment["PYTHONPATH"] += f":{REPO_ROOT}"
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, start_new_session=True)
    deep_gemm = folder_of(stack) / "deep_gemm"
    deadline = time.monotonic() + 60
    while not any(path.is_file() for path in deep_gemm.rglob("*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    # The container and everything in it are gone then; here the tool, a session of its own, is ended by hand.
    for pid in processes_with(stack.recipe.model_path(stack.commit)):
        os.kill(pid, 9)
    assert not (folder_of(stack) / ".compiled-tiny-glm").exists()
    result, _, _ = run(stack, container_environment)
    assert not result["skipped"]
    check_kernels(stack.recipe, stack.key)
