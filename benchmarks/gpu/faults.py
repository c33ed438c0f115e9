"""What breaks on purpose, on the real engine: each fault with what the supervisor did about it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.load import FailedRequest, Target, ask
from benchmarks.gpu.servers import Ours
from serving.manifest import KernelsManifest, read_manifest

_STREAMS = 16


def run(bench: Bench, names: list[str]) -> None:
    for name in names or list(FAULTS):
        began = time.monotonic()
        result = FAULTS[name](bench)
        result["wall_seconds"] = round(time.monotonic() - began, 1)
        bench.save(f"fault-{name}", result)
        say(f"{name}: {result}")


def scheduler_killed(ours: Ours) -> dict[str, Any]:
    """SIGKILL to the scheduler, as the kernel's OOM killer would: the container must end with 1 and leave nothing."""
    pids, scheduler = ours.descendants(), ours.scheduler()
    killed_at = time.monotonic()
    os.kill(scheduler, signal.SIGKILL)
    status = ours.wait_end(60)
    seconds = time.monotonic() - killed_at
    return {
        "container_status": status,
        "seconds_to_the_end": round(seconds, 1),
        "processes_left": _alive(pids),
        "said": _said(ours, "[monitor]"),
    }


def sigterm_under_load(ours: Ours) -> dict[str, Any]:
    """SIGTERM while 16 streams are answered: running answers end whole, the container ends with 0, nothing is left."""
    pids = ours.descendants()
    gate = threading.Barrier(_STREAMS + 1)

    def stream(number: int) -> str:
        gate.wait()
        try:
            ask(ours.target, 64, 600, 900_000 + number)
        except FailedRequest as error:
            return str(error)[:160]
        return "whole"

    with ThreadPoolExecutor(_STREAMS) as pool:
        answers = [pool.submit(stream, number) for number in range(_STREAMS)]
        gate.wait()
        time.sleep(0.8)
        running = sum(not answer.done() for answer in answers)
        asked_at = time.monotonic()
        ours.process.send_signal(signal.SIGTERM)
        late = _status_of(ours.target)
        status = ours.wait_end(60)
        seconds = time.monotonic() - asked_at
        outcomes = [answer.result() for answer in answers]
    return {
        "streams_running_at_sigterm": running,
        "answers": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        "a_request_after_it": late,
        "container_status": status,
        "seconds_to_the_end": round(seconds, 1),
        "processes_left": _alive(pids),
        "said": _said(ours, "[shutdown]"),
    }


def _of_a_new_server(fault: Callable[[Ours], dict[str, Any]]) -> Callable[[Bench], dict[str, Any]]:
    def start_and_break(bench: Bench) -> dict[str, Any]:
        with Ours(bench, f"fault-{fault.__name__.replace('_', '-')}") as ours:
            return {"ready": ours.wait_ready(), **fault(ours)}

    return start_and_break


def kernel_file_removed(bench: Bench) -> dict[str, Any]:
    """One compiled GEMM kernel is gone from the artifact: the container must refuse to serve and name the file."""
    folder = Path(bench.recipe.kernel_path(bench.kernel_key))
    manifest = read_manifest(KernelsManifest, folder)
    assert manifest is not None
    name = next(file.path for file in manifest.files if file.path.endswith(".cubin") and "deep_gemm" in file.path)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    try:
        with Ours(bench, "fault-kernel-file-removed") as ours:
            status = ours.wait_end(400)
            pids = ours.descendants()
            return {
                "removed": name,
                "container_status": status,
                "seconds_to_the_end": ours.seconds(),
                "processes_left": _alive(pids),
                "said": _said(ours, "[startup] FATAL"),
            }
    finally:
        (folder / name).write_bytes(content)


def wrong_flag(bench: Bench) -> dict[str, Any]:
    """A flag that this release does not have: the start must end at once and name it."""
    recipe = bench.recipe.with_engine_args({"no-such-flag-of-sglang": True})
    with Ours(bench, "fault-wrong-flag", recipe=recipe) as ours:
        status = ours.wait_end(120)
        return {
            "container_status": status,
            "seconds_to_the_end": ours.seconds(),
            "said": _said(ours, "[startup] FATAL"),
        }


def port_in_use(bench: Bench) -> dict[str, Any]:
    """Somebody else listens on the engine's port: the start must end at once and say so."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", bench.recipe.port))
        listener.listen()
        with Ours(bench, "fault-port-in-use") as ours:
            status = ours.wait_end(400)
            return {
                "container_status": status,
                "seconds_to_the_end": ours.seconds(),
                "said": _said(ours, "[startup] FATAL"),
            }


FAULTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "wrong-flag": wrong_flag,
    "port-in-use": port_in_use,
    "kernel-file-removed": kernel_file_removed,
    "scheduler-killed": _of_a_new_server(scheduler_killed),
    "sigterm-under-load": _of_a_new_server(sigterm_under_load),
}


def _said(server: Ours, mark: str) -> list[str]:
    return [line.strip()[:400] for line in server.log.splitlines() if mark in line]


def _alive(pids: list[int]) -> int:
    """How many of these still run, a moment after the container's end."""
    time.sleep(1)
    return sum(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _status_of(target: Target) -> str:
    time.sleep(0.3)
    try:
        ask(target, 16, 4, 990_000, timeout=30)
    except FailedRequest as error:
        return str(error)[:160]
    return "answered"
