"""Ending: asked to, killed from below, and by each ordered fault, with the lines and statuses of the real engine."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time

import pytest

from tests.engines.conftest import Engine, Launch, assert_lines_in_order, recorded


def _gone(pid: int) -> bool:
    """Whether a process has ended (a zombie nobody waits for counts)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while not _gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _ask_quietly(engine: Engine) -> None:
    try:
        engine.chat("hi")
    except (OSError, http.client.HTTPException):
        return


def test_sigterm_drains_then_kills_the_process_tree(launch: Launch) -> None:
    engine = launch()
    engine.wait_ready()
    scheduler = engine.scheduler()
    answers: list[int] = []
    body = {"prompt": "hi", "max_tokens": 300, "ignore_eos": True}
    request = threading.Thread(target=lambda: answers.append(engine.request("POST", "/v1/completions", body).status))
    request.start()
    while "Prefill batch" not in engine.log.split("ready to roll")[-1]:
        time.sleep(0.005)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait_exit() == -signal.SIGKILL  # what a shell shows as 137
    request.join()
    assert answers == [200]
    assert_lines_in_order(engine.lines(), recorded("sigterm.txt"))
    _wait_gone(scheduler)


def test_a_shell_sees_137(launch: Launch) -> None:
    import subprocess

    engine = launch()
    engine.wait_ready()
    shell = subprocess.Popen(
        ["sh", "-c", 'kill -TERM "$1"; while kill -0 "$1" 2>/dev/null; do :; done', "-", str(engine.process.pid)]
    )
    status = engine.wait_exit()
    shell.wait(timeout=5)
    assert 128 - status == 137


def test_sigterm_takes_its_time(launch: Launch) -> None:
    engine = launch(STANDIN_SPEED="5")
    engine.wait_ready()
    began = time.monotonic()
    engine.process.send_signal(signal.SIGTERM)
    engine.wait_exit()
    assert time.monotonic() - began < 1.5  # the real one: up to five seconds more than its requests need


def test_a_killed_scheduler_takes_the_server_with_it(launch: Launch) -> None:
    engine = launch()
    engine.wait_ready()
    os.kill(engine.scheduler(), signal.SIGKILL)
    assert engine.wait_exit() == -signal.SIGKILL
    assert_lines_in_order(engine.lines(), recorded("scheduler-killed.txt"))


def test_the_scheduler_does_not_outlive_a_killed_server(launch: Launch) -> None:
    engine = launch()
    engine.wait_ready()
    scheduler = engine.scheduler()
    engine.process.kill()
    engine.wait_exit()
    _wait_gone(scheduler)


def test_it_sleeps_before_it_ends(launch: Launch) -> None:
    engine = launch(STANDIN_SPEED="5")
    engine.wait_ready()
    began = time.monotonic()
    os.kill(engine.scheduler(), signal.SIGKILL)
    engine.wait_exit()
    assert 1.0 < time.monotonic() - began < 3.0  # five seconds and the watchdog's one, five times faster


@pytest.mark.parametrize("fault", ["die-at-first-request", "die-after:0"])
def test_a_failing_request_ends_it(launch: Launch, fault: str) -> None:
    engine = launch(STANDIN_FAULT=fault)
    engine.wait_ready()
    _ask_quietly(engine)
    assert engine.wait_exit() == -signal.SIGKILL
    assert_lines_in_order(engine.lines(), recorded("first-request-fails.txt"))


def test_it_can_die_at_its_own_warm_up(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="die-at-warmup")
    assert engine.wait_exit() == -signal.SIGKILL
    assert_lines_in_order(engine.lines(), recorded("first-request-fails.txt"))
    assert "ready to roll" not in engine.log


def test_it_can_die_later(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="die-after:2")
    engine.wait_ready()
    assert [engine.chat("hi").status for _ in range(2)] == [200, 200]
    _ask_quietly(engine)
    assert engine.wait_exit() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("die-at-load", -9, "RuntimeError: Not enough memory"),
        ("oom-at-load", -9, None),
        ("scheduler-oom-at-load", 1, "Rank 0 scheduler died during initialization (exit code: -9)"),
    ],
)
def test_it_can_die_while_it_loads(launch: Launch, fault: str, status: int, said: str | None) -> None:
    engine = launch(STANDIN_FAULT=fault)
    assert engine.wait_exit() == status
    if said is None:
        assert "kill_process_tree" not in engine.log
    else:
        assert said in engine.log


def test_it_can_hang_alive(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="hang-after:1", STANDIN_SPEED="50")
    engine.wait_ready()
    assert engine.chat("hi").status == 200
    asking = threading.Thread(target=_ask_quietly, args=(engine,))
    asking.start()
    deadline = time.monotonic() + 5
    while (
        'num_running_reqs{engine_type="unified",model_name="glm-test",moe_ep_rank="0",pp_rank="0",tp_rank="0"} 1.0'
        not in (engine.request("GET", "/metrics", key=None).body.decode())
    ):
        assert time.monotonic() < deadline
    assert engine.request("GET", "/health", key=None).status == 503  # after its time-out
    assert engine.process.poll() is None
    engine.kill()
    asking.join()


def test_it_can_answer_badly(launch: Launch) -> None:
    engine = launch(STANDIN_FAULT="bad-answer")
    engine.wait_ready()
    said = engine.chat("What is 2+2?").json()["choices"][0]["message"]["content"]
    assert said
    assert "4" not in said
