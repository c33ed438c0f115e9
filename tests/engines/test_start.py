"""Starting: the lines in their order, strict flags, checked weights, caches that save time."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from tests.engines.conftest import KEY, Launch


def test_the_key_is_in_the_log_and_in_no_argument(launch: Launch) -> None:
    engine = launch()
    engine.wait_ready()
    # As the real one: the key from the file is in the log, and in no argument.
    assert f"api_key='{KEY}'" in engine.log
    assert KEY not in Path(f"/proc/{engine.process.pid}/cmdline").read_text()


def test_with_its_caches_it_costs_less_than_a_second(launch: Launch) -> None:
    engine = launch()
    engine.wait_ready()
    assert _cpu_seconds(engine.process.pid) + _cpu_seconds(engine.scheduler()) < 1.0


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process: unlike the clock's, it is the same on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_caches_it_is_visibly_slower_and_fills_them(launcher: Launch, kernels: Path, tmp_path: Path) -> None:
    uncached = launcher(kernels=tmp_path, STANDIN_SPEED="30", SGLANG_JIT_DEEPGEMM_PRECOMPILE="1")
    slow_seconds = uncached.wait_ready()
    cached = launcher(kernels=kernels, STANDIN_SPEED="30", SGLANG_JIT_DEEPGEMM_PRECOMPILE="1")
    pass_seconds = cached.wait_ready()
    fast = launcher(kernels=kernels, STANDIN_SPEED="30")
    fast.wait_ready()
    assert slow_seconds > pass_seconds + 0.4
    assert "DeepGEMM warmup: 100%" in cached.log  # every shape is run over all sizes, although nothing is missing
    assert "DeepGEMM" not in fast.log
    # What a start alone does not need comes with the first prompts that do: long ones, and batches.
    missing = _files(kernels) - _files(tmp_path)
    assert missing
    assert not any(name.startswith("deep_gemm") for name in missing)
    uncached.chat("fox " * 2400)
    assert uncached.request("POST", "/v1/completions", {"prompt": ["a"] * 16, "max_tokens": 40}).status == 200
    assert _files(tmp_path) == _files(kernels)


def test_kernels_of_another_gpu_do_not_serve(launch: Launch, kernels: Path, tmp_path: Path) -> None:
    shutil.copytree(kernels, tmp_path / "kernels")
    engine = launch(kernels=tmp_path / "kernels", LOCAL_GPU="H200:8")
    engine.wait_ready()
    assert any(".sm90_" in name for name in _files(tmp_path / "kernels"))


def test_a_damaged_kernel_is_compiled_anew(launch: Launch, kernels: Path, tmp_path: Path) -> None:
    shutil.copytree(kernels, tmp_path / "kernels")
    damaged = next((tmp_path / "kernels").rglob("kernel.cubin"))
    content = damaged.read_bytes()
    damaged.write_bytes(b"x" + content[1:])
    launch(kernels=tmp_path / "kernels", SGLANG_JIT_DEEPGEMM_PRECOMPILE="1").wait_ready()
    assert damaged.read_bytes() == content


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--no-such-flag", "1"], "error: unrecognized arguments: --no-such-flag 1"),
        (["--max-running-requests", "many"], "argument --max-running-requests: invalid int value: 'many'"),
        (["--attention-backend", "nsaa"], "argument --attention-backend: invalid choice: 'nsaa'"),
        (["--dsa-decode-backend", "trtllm"], "unrecognized arguments: --dsa-decode-backend trtllm"),
        (["--mem-fraction-static"], "expected one argument"),
    ],
)
def test_wrong_flags_end_it_with_2(launch: Launch, more: list[str], said: str) -> None:
    engine = launch(*more)
    assert engine.wait_exit() == 2
    assert said in engine.log
    assert KEY not in engine.log


def test_config_files_must_be_yaml_and_hold_options(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{}")
    engine = launch("--config", str(tmp_path / "engine.json"), key=False)
    assert engine.wait_exit() == 1
    assert "ValueError: Config file must be YAML format, got: .json" in engine.log
    (tmp_path / "engine.yaml").write_text("api_key: x\n")
    engine = launch("--config", str(tmp_path / "engine.yaml"), key=False)
    assert engine.wait_exit() == 2
    assert "unrecognized arguments: --api_key x" in engine.log


def test_a_release_without_catalogue_says_how_to_get_one(launch: Launch) -> None:
    engine = launch(LOCAL_IMAGE_TAG="lmsysorg/sglang:v9.9.9")
    assert engine.wait_exit() == 1
    assert "recipes.flags.extract sglang 9.9.9" in engine.log


@pytest.mark.parametrize("where", ["data", "header", "length", "missing", "short", "tensor"])
def test_a_broken_shard_is_named(launch: Launch, checkpoint: Path, tmp_path: Path, where: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    shard = sorted(model.glob("*.safetensors"))[2]
    content = bytearray(shard.read_bytes())
    match where:
        case "data":
            content[-1000] ^= 1
        case "header":
            content[content.index(b'"pt"') + 1] ^= 1
        case "length":
            content[6] ^= 1
        case "tensor":
            content[content.index(b"weight")] ^= 1
        case "short":
            del content[-1:]
    shard.write_bytes(content)
    if where == "missing":
        shard.unlink()
    engine = launch(model=model)
    assert engine.wait_exit() == -9
    assert "Scheduler hit an exception: Traceback" in engine.log
    assert shard.name in engine.log
    assert "It usually means the child failed." in engine.log
    assert f"kill_process_tree called: parent_pid={engine.process.pid}" in engine.log


def test_no_model(launch: Launch, tmp_path: Path) -> None:
    engine = launch(model=tmp_path)
    assert engine.wait_exit() == 1
    assert "config.json" in engine.log


def test_too_few_gpus(launch: Launch) -> None:
    engine = launch(LOCAL_GPU="B200:4")
    assert engine.wait_exit() == -9
    assert "there are 4 GPUs" in engine.log


def test_a_port_in_use(launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        engine = launch("--port", str(taken.getsockname()[1]))
        assert engine.wait_exit() == 1
    assert "error while attempting to bind on address" in engine.log
    assert "address already in use" in engine.log


def test_health_is_503_until_it_is_ready_and_never_with_the_fault(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="never-healthy")
    while "ready to roll" not in engine.log:
        assert engine.process.poll() is None
    assert engine.request("GET", "/health", key=None).status == 503
    assert engine.request("GET", "/v1/models").status == 200


def test_an_unknown_fault_is_refused(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="explode")
    assert engine.wait_exit() == 2
    assert "STANDIN_FAULT='explode' is unknown" in engine.log


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
