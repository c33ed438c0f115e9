"""What a local cloud left behind: after `python -m local stop` there must be nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

from local.installation import Installation

_EMPTY = ("containers", "volumes/incoming")
"""Folders of a cloud that hold something only while it works."""


def left_over(folder: Path) -> list[str]:
    """Processes, mounts, sockets and files of the cloud in this folder, in words. What it stores is none of them."""
    return [*_processes(folder), *_mounts(folder), *_listeners(folder), *_files(folder)]


def _processes(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "environ", "status"]):
        arguments, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if process.pid == os.getpid() or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        if any(_inside(folder, word) for word in (*arguments, environment.get("MODAL_SERVER_URL", ""))):
            found.append(f"process {process.pid}: {' '.join(arguments)}")
    return found


def _mounts(folder: Path) -> list[str]:
    found = set()
    for process in ("self", *(str(pid) for pid in psutil.pids())):
        try:
            lines = Path(f"/proc/{process}/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # it has ended
        found |= {f"mount {line.split()[4]}" for line in lines if _inside(folder, line.replace("upperdir=", " "))}
    return sorted(found)


def _listeners(folder: Path) -> list[str]:
    found = []
    if (folder / "installation.json").exists():
        installation = Installation.open(folder)
        for port in (installation.port, installation.http_port, installation.hub_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    found.append(f"listener on port {port}")
    return found


def _files(folder: Path) -> list[str]:
    found = [str(path) for each in _EMPTY if (folder / each).is_dir() for path in (folder / each).iterdir()]
    found += [str(path) for path in folder.rglob("*") if path.is_socket() or path.is_fifo()]
    for place in ("blobs", "blocks"):
        found += [str(path) for path in (folder / place).glob(".*")]  # what was being received
    return [*found, *(str(path) for path in (folder / "daemon.json",) if path.exists())]


def _inside(folder: Path, text: str) -> bool:
    return f"{folder}/" in text or text.rstrip().endswith(str(folder))
