"""Log lines in vLLM's form: `(Process pid=N) LEVEL MM-DD HH:MM:SS [file.py:line] message`."""

from __future__ import annotations

import os
import time

_process = ""


def set_process(name: str) -> None:
    """What this process's lines begin with: APIServer, EngineCore."""
    global _process
    _process = f"({name} pid={os.getpid()}) " if name else ""


def info(source: str, message: str, worker: str = "") -> None:
    """`source` is the file and line in vLLM's own code; `worker` names the rank that would say it."""
    _log("INFO", source, message, worker)


def warning(source: str, message: str, worker: str = "") -> None:
    _log("WARNING", source, message, worker)


def error(source: str, message: str, worker: str = "") -> None:
    _log("ERROR", source, message, worker)


def plain(text: str, worker: str = "") -> None:
    """A line of another library, behind the process's name."""
    process = f"({worker} pid={os.getpid()}) " if worker else _process
    os.write(2, "".join(f"{process}{line}\n" for line in text.rstrip("\n").split("\n")).encode())


def _log(level: str, source: str, message: str, worker: str) -> None:
    process = f"({worker} pid={os.getpid()}) " if worker else _process
    stamp = f"{process}{level} {time.strftime('%m-%d %H:%M:%S')} [{source}] "
    os.write(1, "".join(f"{stamp}{line}\n" for line in message.split("\n")).encode())
