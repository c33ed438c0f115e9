"""The processes of one `pulumi up` and of the containers it has started, found and killed."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import psutil

TARGETS = {"cli": 5, "group": 3, "provider": 5, "language host": 2, "program": 3, "container": 6}
"""What is killed, and how often in comparison."""


def choose(chance: random.Random) -> str:
    return chance.choices(list(TARGETS), weights=list(TARGETS.values()))[0]


def kill(target: str, cli: int, backend: str, cloud: Path, chance: random.Random) -> str | None:
    """Kills it with SIGKILL; says what it was, or None where there is no such process at the moment.

    `cli` is the CLI's pid, which leads its group; `backend` its PULUMI_BACKEND_URL; `cloud` the local cloud's folder.
    """
    if target == "cli":
        return _kill([psutil.Process(cli)])
    if target == "group":
        with suppress(ProcessLookupError):
            os.killpg(cli, signal.SIGKILL)
            return "process group of pulumi"
        return None
    if target == "container":
        containers = running_containers(cloud)
        if not containers:
            return None
        task = chance.choice(sorted(containers))
        return f"{_function(containers[task])} ({len(containers[task])} processes)" if _kill(containers[task]) else None
    return _kill([process for process in of_backend(backend) if role(process) == target])


def of_backend(backend: str) -> list[psutil.Process]:
    """The CLI and everything that it, or one before it that was killed, has started."""
    return [process for process, environ in _environments() if environ.get("PULUMI_BACKEND_URL") == backend]


def of_cloud(cloud: Path) -> list[psutil.Process]:
    """The daemon of that folder, its containers and its clients."""
    found = []
    for process, environ in _environments():
        with suppress(psutil.Error):
            if environ.get("LOCAL_DIR") == str(cloud) or str(cloud) in process.cmdline():
                found.append(process)
    return found


def running_containers(cloud: Path) -> dict[str, list[psutil.Process]]:
    """Processes by task id."""
    found: dict[str, list[psutil.Process]] = {}
    tasks = {folder.name for folder in (cloud / "containers").glob("ta-*")}
    for process, environ in _environments():
        if environ.get("MODAL_TASK_ID") in tasks:
            found.setdefault(environ["MODAL_TASK_ID"], []).append(process)
    return found


def _environments() -> list[tuple[psutil.Process, dict[str, str]]]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append((process, process.environ()))
    return found


def role(process: psutil.Process) -> str:
    """Its name in TARGETS; empty for what is none of them."""
    with suppress(psutil.Error):
        arguments = process.cmdline()
        if "pulumi.dynamic" in arguments:
            return "provider"
        if any(argument.endswith("pulumi-language-python-exec") for argument in arguments):
            return "program"
        if arguments and arguments[0].endswith("pulumi-language-python"):
            return "language host"
    return ""


def _function(processes: list[psutil.Process]) -> str:
    """What runs in a container, by the longest of its command lines that are not Modal's entrypoint."""
    lines = []
    for process in processes:
        with suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    engines = [line for line in lines if "_container_entrypoint" not in line]
    return max(engines, key=len, default="modal._container_entrypoint")[:80]


def _kill(processes: list[psutil.Process]) -> str | None:
    killed = ""
    for process in processes:
        with suppress(psutil.Error):
            name = process.name()
            process.kill()
            killed = killed or name
    return killed or None
