"""The stand-in as containers start it: `python3 -m sglang.…` with the site folders, nothing else of this repository."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.hub.store import Store

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings" / "sglang-0.5.16"
KEY = "sk-test-1234567890"
MODEL = "glm-test"
FLAGS = [
    *("--tp", "8", "--ep", "1", "--trust-remote-code", "--attention-backend", "nsa"),
    *("--nsa-decode-backend", "trtllm", "--nsa-prefill-backend", "trtllm"),
    *("--moe-runner-backend", "flashinfer_trtllm", "--enable-flashinfer-allreduce-fusion"),
    *("--kv-cache-dtype", "bfloat16", "--speculative-algorithm", "EAGLE", "--speculative-num-steps", "3"),
    *("--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", "4"),
    *("--reasoning-parser", "glm45", "--tool-call-parser", "glm47", "--mem-fraction-static", "0.88"),
    *("--max-prefill-tokens", "32768", "--max-total-tokens", "65536", "--watchdog-timeout", "1200"),
    "--enable-metrics",
]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of server-sent events; the closing [DONE] stays a string."""
        parts = [part.removeprefix("data: ") for part in self.body.decode().split("\n\n") if part]
        return [part if part == "[DONE]" else json.loads(part) for part in parts]


@dataclass
class Engine:
    process: subprocess.Popen[bytes]
    port: int
    log_path: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[str]:
        """The log, a line each, without the time in front; what a progress bar overwrote counts as a line."""
        return [re.sub(r"^\[[^\]]*\] ", "", line) for line in re.split(r"[\r\n]+", self.log) if line.strip()]

    def request(
        self, method: str, path: str, document: Any = None, key: str | None = KEY, body: bytes | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        connection.request(method, path, json.dumps(document).encode() if body is None else body, headers)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def chat(self, content: str, **more: Any) -> Answer:
        messages = more.pop("messages", [{"role": "user", "content": content}])
        return self.request("POST", "/v1/chat/completions", {"model": MODEL, "messages": messages, **more})

    def wait_ready(self, seconds: float = 20) -> float:
        """Until /health answers 200; returns the seconds since the start."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log[-3000:]
            with contextlib.suppress(OSError):  # it does not listen yet
                if self.request("GET", "/health", key=None).status == 200:
                    return time.monotonic() - self.started
            time.sleep(0.01)
        raise AssertionError(f"not ready within {seconds} s:\n{self.log[-3000:]}")

    def wait_exit(self, seconds: float = 20) -> int:
        return self.process.wait(timeout=seconds)

    def scheduler(self) -> int:
        """Process id of SGLang's scheduler or of vLLM's engine."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        names = ("sglang::sched", "VLLM::Engine")
        (pid,) = (int(c) for c in children if Path(f"/proc/{c}/comm").read_text().startswith(names))
        return pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Launch = Callable[..., Engine]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(argv: list[str], environment: dict[str, str], folder: Path, port: int) -> Engine:
    """Starts an engine that logs into `folder`."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
    return Engine(process, port, folder / "log")


@pytest.fixture(scope="session")
def started() -> Iterator[list[Engine]]:
    """Every engine that was started; ends those that are left."""
    engines: list[Engine] = []
    yield engines
    for engine in engines:
        engine.kill()


@pytest.fixture(autouse=True)
def ended_with_the_test(started: list[Engine]) -> Iterator[None]:
    """What a test starts for itself ends with it: dozens of idle engines would slow the tests that follow."""
    shared = len(started)  # those of a module or a session are there by now
    yield
    for engine in started[shared:]:
        engine.kill()
    del started[shared:]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint as a download leaves it."""
    store = Store(tmp_path_factory.mktemp("hub"))
    folder = tmp_path_factory.mktemp("checkpoint")
    for file in store.commit("glm-serving/micro-glm", 0).files.values():
        shutil.copy(store.blob(file), folder / file.path)
    return folder


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, started: list[Engine]) -> Launch:
    """Starts engines."""

    def launch(
        *more: str,
        kernels: Path,
        module: str = "sglang.launch_server",
        model: Path = checkpoint,
        key: bool = True,
        site: Path | None = None,
        flags: Sequence[str] = FLAGS,
        **env: str,
    ) -> Engine:
        folder, port = tmp_path_factory.mktemp("engine"), free_port()
        config = folder / "engine.yaml"
        config.write_text(f"api-key: {json.dumps(KEY)}\n")
        argv = [sys.executable, "-m", module, "--model-path", str(model), "--served-model-name", MODEL]
        argv += ["--port", str(port), *flags, *(["--config", str(config)] if key else []), *more]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}/local/engines/shared:{ROOT}/local/engines/sglang" + (f":{site}" if site else ""),
            "LOCAL_IMAGE_TAG": "lmsysorg/sglang:v0.5.10.post1",
            "LOCAL_GPU": "B200:8",
            "STANDIN_SPEED": "100",
            "SGLANG_ENABLE_SPEC_V2": "1",
            "SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0",
            "SGLANG_DG_CACHE_DIR": f"{kernels}/deep_gemm",
            "TVM_FFI_CACHE_DIR": f"{kernels}/tvm-ffi",
            "FLASHINFER_WORKSPACE_BASE": f"{kernels}/flashinfer",
            "TRITON_CACHE_DIR": f"{kernels}/triton",
            **env,
        }
        started.append(run(argv, environment, folder, port))
        return started[-1]

    return launch


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory, launcher: Launch) -> Path:
    """Complete caches: a server was started once and asked what a warm-up asks."""
    folder = tmp_path_factory.mktemp("kernels")
    engine = launcher(kernels=folder, STANDIN_SPEED="2000", SGLANG_JIT_DEEPGEMM_PRECOMPILE="1")
    engine.wait_ready()
    assert engine.chat("fox " * 2400).status == 200
    assert engine.request("POST", "/v1/completions", {"prompt": ["hello"] * 16, "max_tokens": 40}).status == 200
    engine.kill()
    return folder


@pytest.fixture
def launch(launcher: Launch, kernels: Path) -> Launch:
    def start(*more: str, **keywords: Any) -> Engine:
        return launcher(*more, **{"kernels": kernels, **keywords})

    return start


@pytest.fixture(scope="module")
def engine(launcher: Launch, kernels: Path) -> Iterator[Engine]:
    """One server for all tests of a module that leave it as it is."""
    running = launcher(kernels=kernels)
    running.wait_ready()
    yield running
    running.kill()


def recorded(name: str) -> Any:
    text = (RECORDINGS / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else text.splitlines()


def form(line: str) -> str:
    """A log line without what differs from run to run: numbers and quoted paths."""
    line = re.sub(r"='[^']*'", "=''", line)
    line = re.sub(r"\[[\d, ]+\]", "", line)
    return re.sub(r"-?\d+(?:\.\d+)*(?:e-?\d+)?", "0", line).strip()


def assert_lines_in_order(lines: list[str], expected: list[str]) -> None:
    position = 0
    forms = [form(line) for line in lines]
    for line in expected:
        wanted = form(line)
        found = next((i for i in range(position, len(forms)) if forms[i].startswith(wanted)), None)
        assert found is not None, f"after line {position}, none has the form of {line!r}:\n" + "\n".join(
            lines[position:]
        )
        position = found + 1
