"""The life of an engine in its container, with the stand-in's real processes, ports and signals."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from serving.engines import sglang
from serving.errors import ServingError
from serving.health import probe
from serving.loopback import request
from tests.serving.conftest import API_KEY, REPO_ROOT, processes_with
from tests.serving.container import WARM_UP_REQUESTS, Make


def test_a_start_a_life_and_a_clean_stop(make: Make) -> None:
    container = make()
    container.supervisor.start(volumes=0.5)
    assert container.said("[health] passed on attempt ")
    assert container.said("[warmup] 4/4 tools")
    assert container.lines[-1].startswith("ready in ")
    assert re.fullmatch(
        r"ready in [\d.]+ s: volumes 0\.5 · load [\d.]+ · graphs [\d.]+ · warm-up [\d.]+", container.lines[-1]
    )
    assert not container.said("warnings that no rule knows")
    assert container.said("[warmup] 10 prompts up to 7000 tokens, 8 at once: ")
    assert container.supervisor.finished_requests() >= WARM_UP_REQUESTS
    answer = container.ask()
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]
    assert container.ask(key="wrong").status == 401
    port = container.stack.recipe.port
    for path in ("/metrics", "/health_generate", "/server_info", "/docs"):
        assert request(port, "GET", path).status == 401, f"{path} is open to anybody"
    assert request(port, "GET", "/health_generate", api_key=API_KEY).status == 200
    assert request(port, "GET", "/health").status == 200
    container.supervisor.stop()
    assert container.said("[shutdown] SGLang stopped after ")
    assert not container.engine_pids()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", container.stack.recipe.port), timeout=1).close()
    time.sleep(2 * container.stack.recipe.deadlines.monitor_interval)
    assert not container.died, "a stop that was asked for was taken for a crash"
    assert not container.said("FATAL")


def test_a_container_without_its_gate_takes_no_traffic(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = sglang.launch_command

    def without_gate(*arguments: Any, **more: Any) -> list[str]:
        own = "serving.engines.sglang_server"
        return [word.replace(own, "sglang.launch_server") for word in launch(*arguments, **more)]

    monkeypatch.setattr(sglang, "launch_command", without_gate)
    container = make()
    with pytest.raises(ServingError, match=r"answers GET /metrics without the API key \(HTTP 200\).*Next: "):
        container.supervisor.start()


def test_nothing_is_left_to_compile_for_a_serving_container(make: Make) -> None:
    container = make()
    kernels = Path(container.stack.recipe.kernel_path(container.stack.key))

    def written() -> dict[str, float]:
        return {str(path): path.stat().st_mtime for path in kernels.rglob("*") if path.is_file()}

    before = written()
    container.supervisor.start()
    for words in (3, 500, 1500, 3000):
        assert container.ask("word " * words).status == 200
    assert written() == before


def test_the_key_is_seen_nowhere_and_its_file_is_gone(make: Make, monkeypatch: Any, tmp_path: Path) -> None:
    container = make(environment={"HF_TOKEN": "hf_" + "x" * 30})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    container.supervisor.start()
    assert [folder.name.split("-")[0] for folder in (tmp_path / "tmp").iterdir()] == ["metrics"]
    pids = container.engine_pids()
    assert pids
    assert not processes_with(API_KEY)
    for pid in pids:
        environ = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
        assert API_KEY not in environ
        assert "hf_xxx" not in environ
    assert not any(API_KEY in line for line in container.lines)
    assert any("server_args=" in line and "api_key='***'" in line for line in container.lines)


def test_the_key_file_is_private_while_it_exists(make: Make, monkeypatch: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    container = make()
    real = subprocess.Popen

    def spy(argv: list[str], **more: Any) -> Any:
        if "--config" in argv:
            path = Path(argv[argv.index("--config") + 1])
            seen.append((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777, path.suffix))
        return real(argv, **more)

    monkeypatch.setattr(subprocess, "Popen", spy)
    container.supervisor.start()
    assert seen == [(0o600, 0o700, ".yaml")]


def test_it_works_without_a_key(make: Make) -> None:
    container = make(environment={"API_KEY": ""})
    container.supervisor.start()
    assert container.ask(key="").status == 200
    assert not container.said("--config")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("die-at-load", r"SGLang died while starting \(code .*worker process failed.*Next: "),
        ("oom-at-load", r"SGLang died while starting \(code -9: SIGKILL, usually the OOM killer.*0\.88 to 0\.85"),
        ("scheduler-oom-at-load", r"SGLang died while starting"),
        ("die-at-warmup", r"SGLang died while starting"),
        ("die-at-first-request", r"SGLang died while warming up"),
        ("never-healthy", r"SGLang was not healthy within 6 s: /health answers 503.*deadlines\.health"),
        ("empty-answer", r"warm-up 1/4 \(chat\) failed: an empty message"),
    ],
)
def test_one_that_cannot_get_ready_says_why_and_leaves_nothing(make: Make, fault: str, expected: str) -> None:
    container = make({"deadlines": {"health": 6}}, environment={"STANDIN_FAULT": fault})
    began = time.monotonic()
    with pytest.raises(ServingError, match=expected) as caught:
        container.supervisor.start()
    assert time.monotonic() - began < 25
    assert "\n" not in str(caught.value)
    assert container.said(f"[startup] FATAL: {caught.value}")
    assert not container.engine_pids()
    assert not container.died


def test_an_unknown_flag_is_named(make: Make) -> None:
    container = make(flags={"no-such-flag": 1})
    with pytest.raises(ServingError, match=r"code 2: it refused its arguments.*unrecognized arguments: --no-such-flag"):
        container.supervisor.start()


def test_fp8_kv_cache_is_refused_before_traffic(make: Make) -> None:
    container = make(flags={"kv-cache-dtype": None})
    with pytest.raises(ServingError, match=r"KV cache is FP8.*kv-cache-dtype to bfloat16"):
        container.supervisor.start()
    assert container.said("[triage] error fp8-kv-cache: ")


def test_without_drafting_an_fp8_cache_is_reported_and_serves(make: Make) -> None:
    # A value that is the key by accident: the command line is said, and the key is not.
    container = make(flags={"kv-cache-dtype": None, "speculative-algorithm": None, "crash-dump-folder": API_KEY})
    container.supervisor.start()
    assert container.said("[triage] error fp8-kv-cache: ")
    assert container.said("--crash-dump-folder ***")
    assert not any(API_KEY in line for line in container.lines)
    container.supervisor.stop()


def test_a_flipped_byte_in_a_shard_stops_the_start(make: Make) -> None:
    container = make()
    shard = sorted(Path(container.stack.recipe.model_path(container.stack.commit)).glob("model-*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 0x40
    shard.write_bytes(content)
    with pytest.raises(ServingError, match=rf"SGLang died while starting.*{shard.name}"):
        container.supervisor.start()


def test_missing_kernels_stop_it_before_the_engine_starts(make: Make) -> None:
    container = make(with_kernels=False)
    with pytest.raises(ServingError, match=r"kernels: .*not compiled for this key.*pulumi up"):
        container.supervisor.start()
    assert not container.said("launch_server")


def test_an_engine_that_dies_while_serving_ends_the_container(make: Make) -> None:
    container = make(environment={"STANDIN_FAULT": f"die-after:{WARM_UP_REQUESTS + 1}"})
    container.supervisor.start()
    for _ in range(3):
        try:
            container.ask()
        except (OSError, http.client.HTTPException):
            break
    container.wait_until(lambda: container.died)
    assert container.said("[monitor] FATAL: SGLang died (code ")
    assert not container.engine_pids()


def test_a_killed_engine_is_noticed_faster_than_the_interval(make: Make) -> None:
    container = make({"deadlines": {"monitorInterval": 60}})
    container.supervisor.start()
    os.kill(container.supervisor._engine.pid, 9)  # type: ignore[union-attr]
    container.wait_until(lambda: container.died, 5)
    assert container.said("[monitor] FATAL: SGLang died (code -9)")
    assert container.said("OOM killer")


def test_a_hung_engine_ends_the_container(make: Make) -> None:
    container = make(
        {"deadlines": {"hang": 2, "monitorInterval": 0.2}},
        environment={"STANDIN_FAULT": f"hang-after:{WARM_UP_REQUESTS + 1}"},
    )
    container.supervisor.start()

    import threading

    def ask() -> None:
        try:
            container.ask()
        except (OSError, http.client.HTTPException):
            return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    container.wait_until(lambda: container.died, 20)
    assert container.said("[monitor] FATAL: SGLang hangs")
    assert not container.engine_pids()
    for thread in threads:
        thread.join(30)


def test_an_idle_engine_does_not_hang(make: Make) -> None:
    container = make({"deadlines": {"hang": 0.5, "monitorInterval": 0.1}})
    container.supervisor.start()
    time.sleep(2)
    assert not container.died
    assert probe(container.stack.recipe.port, "/health") == 200


def test_the_process_really_ends_with_status_1(make: Make) -> None:
    container = make()
    program = (
        "import sys, time; from serving.recipe import Recipe; from serving.supervisor import Supervisor;"
        "s = Supervisor(Recipe.model_validate_json(sys.argv[1]), *sys.argv[2:]); s.start(); time.sleep(60)"
    )
    stack = container.stack
    arguments = [stack.recipe.model_dump_json(by_alias=True), stack.commit, stack.key]
    environment = {**container.environment}
    environment["PYTHONPATH"] += f":{REPO_ROOT}"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("ready in "):
            os.kill(min(container.engine_pids()), 9)
    assert process.wait(20) == 1, "".join(lines)
    assert any(line.startswith("[monitor] FATAL: SGLang died (code -9)") for line in lines)
    container.wait_until(lambda: not container.engine_pids())
