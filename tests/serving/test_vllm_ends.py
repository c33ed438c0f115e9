"""How vLLM's container ends when the engine core crashes or stands still, and that nothing is left of it."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from serving.loopback import request
from serving.supervisor import Supervisor
from tests.serving.conftest import API_KEY
from tests.serving.test_vllm import Make, hub_cache, make

__all__ = ["hub_cache", "make"]  # fixtures

HANG = {"deadlines": {"hang": 2, "monitorInterval": 0.3}}


def _warm(make: Make, lines: list[str], died: list[float]) -> Supervisor:
    supervisor = make(lines, **HANG)
    supervisor._end = lambda: died.append(time.monotonic())
    supervisor.start()
    return supervisor


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _ask_and_wait(port: int) -> threading.Thread:
    def ask() -> None:
        payload = {"model": "tiny-glm-5.2", "prompt": "The capital of France is", "max_tokens": 8}
        with suppress(OSError, http.client.HTTPException):  # its connection ends with the engine
            request(port, "POST", "/v1/completions", payload=payload, api_key=API_KEY, timeout=30)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def _within(seconds: float, condition: Callable[[], object], lines: list[str]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "\n".join(lines[-30:])
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "told", "seconds"),
    [(signal.SIGKILL, "[monitor] FATAL: vLLM died (code ", 10), (signal.SIGSTOP, "[monitor] FATAL: vLLM hangs", 10)],
)
def test_a_core_that_is_killed_or_stands_still_ends_the_container(
    make: Make, number: signal.Signals, told: str, seconds: float
) -> None:
    lines: list[str] = []
    died: list[float] = []
    supervisor = _warm(make, lines, died)
    family = _family(supervisor._engine.pid)  # type: ignore[union-attr]
    names = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in family}
    (core,) = (pid for pid, name in names.items() if "EngineCor" in name)
    os.kill(core, number)
    asking = _ask_and_wait(supervisor._recipe.port)
    _within(seconds, lambda: died, lines)
    asking.join(30)
    assert any(told in line for line in lines), "\n".join(lines[-30:])
    _within(2, lambda: not [pid for pid in family if Path(f"/proc/{pid}").exists()], lines)
    assert len(died) == 1
