"""Ending: asked to, killed from below, by each ordered fault, and what requests under way hear of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from tests.engines.conftest import Answer, Engine
from tests.engines.vllm.conftest import Serve

LONG = {"prompt": "hi", "max_tokens": 4000, "ignore_eos": True}


def _ask(engine: Engine, body: dict[str, Any]) -> tuple[threading.Thread, list[Answer]]:
    """Asks in the background, until the engine works on it."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(engine.request("POST", "/v1/completions", body)))
    thread.start()
    deadline = time.monotonic() + 5
    while b'num_requests_running{engine="0",model_name="glm-test"} 1.0' not in engine.request("GET", "/metrics").body:
        assert time.monotonic() < deadline
    return thread, answers


def test_sigterm_kills_the_engine_and_ends_with_0(server: Serve) -> None:
    """Without a timeout nothing is waited for: what is under way fails, streams in their last event."""
    engine = server()
    engine.wait_ready()
    core = engine.scheduler()
    thread, answers = _ask(engine, LONG)
    stream, events = _ask_stream(engine)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait_exit() == 0
    thread.join()
    stream.join()
    assert (answers[0].status, answers[0].json()["error"]["type"]) == (500, "InternalServerError")
    assert events[0].status == 200
    assert events[0].events()[-2]["error"]["code"] == 500
    assert events[0].events()[-1] == "[DONE]"
    assert "[shutdown] API server: stopping engine client mode=abort timeout=0s" in engine.log
    assert "force killing remaining processes count=1" in engine.log
    assert "INFO:     Application shutdown complete." in engine.log
    with pytest.raises(ProcessLookupError):
        os.kill(core, 0)


def _ask_stream(engine: Engine) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    body = {**LONG, "stream": True}
    thread = threading.Thread(target=lambda: answers.append(engine.request("POST", "/v1/completions", body)))
    thread.start()
    time.sleep(0.2)
    return thread, answers


def test_a_shutdown_timeout_lets_requests_finish(server: Serve) -> None:
    engine = server("--shutdown-timeout", "20")
    engine.wait_ready()
    thread, answers = _ask(engine, {**LONG, "max_tokens": 300})
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait_exit() == 0
    thread.join()
    assert answers[0].json()["choices"][0]["finish_reason"] == "length"
    assert "mode=drain timeout=20s" in engine.log
    assert "[shutdown] EngineCore: trigger received signal=SIGTERM" in engine.log
    assert "force killing" not in engine.log


def test_sigterm_during_the_start(server: Serve) -> None:
    engine = server(STANDIN_FAULT="slow-start:20")
    while "Starting to load model" not in engine.log:
        time.sleep(0.01)
    core = engine.scheduler()
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait_exit() == -signal.SIGINT  # what a shell shows as 130
    assert "KeyboardInterrupt: terminated" in engine.log
    with pytest.raises(ProcessLookupError):
        os.kill(core, 0)


@pytest.mark.parametrize("by_fault", [False, True])
def test_a_dead_engine_ends_the_server_with_0(server: Serve, by_fault: bool) -> None:
    """Answered with 500, unhealthy at once, and gone by itself, with a status that looks like success."""
    engine = server(STANDIN_SPEED="5", **({"STANDIN_FAULT": "die-at-first-request"} if by_fault else {}))
    engine.wait_ready()
    if by_fault:
        answer = engine.request("POST", "/v1/completions", LONG)
        assert "EngineCore encountered a fatal error." in engine.log
    else:
        thread, answers = _ask(engine, LONG)
        os.kill(engine.scheduler(), signal.SIGKILL)
        thread.join()
        (answer,) = answers
        assert "engine core exited unexpectedly" in engine.log
    assert answer.status == 500
    assert answer.json()["error"] == {
        "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
    assert engine.wait_exit(5) == 0
    assert "AsyncLLM output_handler failed." in engine.log
    assert "INFO:     Finished server process" in engine.log


def test_an_idle_server_notices_too(server: Serve) -> None:
    engine = server(STANDIN_SPEED="5")
    engine.wait_ready()
    os.kill(engine.scheduler(), signal.SIGKILL)
    time.sleep(0.2)
    assert engine.request("GET", "/health", key=None).status == 503
    assert engine.wait_exit(5) == 0  # its watchdog looks every five seconds


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("die-at-load", 1, "EngineCore failed to start."),
        ("die-at-warmup", 1, "Failed core proc(s): {'EngineCore': 1}"),
        ("scheduler-oom-at-load", 1, "Failed core proc(s): {'EngineCore': -9}"),
        ("oom-at-load", -9, "Starting to load model"),
    ],
)
def test_ends_while_it_starts(server: Serve, fault: str, status: int, said: str) -> None:
    engine = server(STANDIN_FAULT=fault)
    assert engine.wait_exit() == status
    assert said in engine.log


def test_a_stuck_engine_is_healthy_and_makes_no_progress(server: Serve) -> None:
    engine = server(STANDIN_FAULT="hang-after:1")
    engine.wait_ready()
    assert engine.chat("hi").status == 200
    threading.Thread(target=_quietly, args=(engine,), daemon=True).start()
    running = b'vllm:num_requests_running{engine="0",model_name="glm-test"} 1.0'
    deadline = time.monotonic() + 5
    while running not in engine.request("GET", "/metrics").body:
        assert time.monotonic() < deadline
    tokens = _tokens(engine)
    time.sleep(0.1)
    assert _tokens(engine) == tokens
    assert engine.request("GET", "/health", key=None).status == 200
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait_exit() == 0  # SIGKILL to an engine that is deaf


def _quietly(engine: Engine) -> None:
    try:
        engine.chat("hi")
    except (OSError, ValueError):
        return


def _tokens(engine: Engine) -> bytes:
    lines = engine.request("GET", "/metrics").body.splitlines()
    return next(line for line in lines if line.startswith(b"vllm:generation_tokens_total{"))
