"""Processes are started, watched and ended with everything they started: with real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.child_processes import DeathWatch, dead_children
from serving.engine_process import EngineProcess
from serving.log_pump import LogPump
from serving.redaction import Redactor

Start = Callable[[str], EngineProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python program; its lines are in `.last_lines`."""
    started: list[EngineProcess] = []

    def make(program: str) -> EngineProcess:
        argv = [sys.executable, "-u", "-c", textwrap.dedent(program)]
        started.append(EngineProcess(argv, os.environ, LogPump(Redactor(), out=lambda _: None)))
        return started[-1]

    yield make
    for process in started:
        process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_an_exit_is_noticed_at_once_with_its_last_words(start: Start) -> None:
    process = start("import sys; print('last words'); sys.exit(7)")
    assert process.exited.wait(10)
    assert process.returncode == 7
    assert process.last_lines == ["last words"]


def test_termination_that_is_obeyed(start: Start) -> None:
    process = start(
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print('draining'), sys.exit(0)))
        print('up')
        time.sleep(60)
        """
    )
    wait_for(lambda: process.last_lines)
    assert process.terminate(10) == 0
    assert process.last_lines == ["up", "draining"]


def test_one_that_does_not_listen_is_killed_with_its_children(start: Start) -> None:
    process = start(
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, '-c', 'import signal, time;'
                                  'signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])
        print(child.pid)
        time.sleep(60)
        """
    )
    wait_for(lambda: process.last_lines)
    child = int(process.last_lines[0])
    began = time.monotonic()
    assert process.terminate(0.3) is None
    assert time.monotonic() - began < 5
    assert not alive(process.pid)
    wait_for(lambda: not alive(child))


def test_orphans_of_an_engine_that_crashed_are_ended_too(start: Start) -> None:
    process = start(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
        print(child.pid, flush=True)
        sys.exit(1)
        """
    )
    # The orphan holds the pipe open; the death is noticed all the same.
    assert process.exited.wait(10)
    child = int(process.last_lines[0])
    assert alive(child)
    process.kill()
    wait_for(lambda: not alive(child))


def test_its_exit_wakes_whoever_waits(start: Start) -> None:
    event = threading.Event()
    EngineProcess([sys.executable, "-c", ""], os.environ, LogPump(Redactor()), event.set)
    assert event.wait(10)


def test_a_dead_child_that_nobody_waits_for_is_found() -> None:
    program = "import subprocess, sys, time; p = subprocess.Popen(['true']); print(p.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: dead_children(parent.pid) == {child})
        now = [0.0]
        watch = DeathWatch(parent.pid, patience=3, clock=lambda: now[0])
        assert watch.dead_child() is None
        now[0] = 2.9
        assert watch.dead_child() is None
        now[0] = 3.1
        assert watch.dead_child() == child
        assert dead_children(child) == set()
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
