"""What the commands of `python -m local` do to the daemon, from outside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import psutil

from local import log_lines, status_command
from local.installation import REPOSITORY, Installation

START_SECONDS = 30.0
STOP_SECONDS = 20.0
LOG_BYTES = 10_000_000
"""A log larger than this is put aside at the next start."""


class Problem(Exception):
    """What is wrong and what to do, in one line."""


def start(installation: Installation, foreground: bool) -> int:
    """Idempotent. Raises Problem with the daemon's own reason when it doesn't come up."""
    if foreground:
        from local.daemon import run

        return run(installation, for_people=True)
    # Two starts at once: the second waits and finds it running.
    with (installation.folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if daemon_pid(installation) is not None:
            print(f"already running: {installation.server_url}, hub {installation.hub_url}")
            return 0
        began = time.monotonic()
        process = _spawn(installation)
        while daemon_pid(installation) is None:
            if process.poll() is not None:
                raise Problem(f"it did not start: {_last_error(installation)}")
            if time.monotonic() - began > START_SECONDS:
                raise Problem(f"it does not answer after {START_SECONDS:.0f} s: see {installation.log}")
            time.sleep(0.02)
    print(f"started in {time.monotonic() - began:.1f} s")
    print(f"  modal  {installation.server_url}")
    print(f"  hub    {installation.hub_url}")
    print(f"  files  {installation.folder}")
    print('use it: eval "$(python -m local env)"')
    return 0


def stop(installation: Installation) -> int:
    """Idempotent. Containers, mounts and sockets are gone when this returns."""
    pid = daemon_pid(installation)
    if pid is None:
        print("not running")
        return 0
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    if not _ended([process], STOP_SECONDS):
        print(f"it did not end within {STOP_SECONDS:.0f} s and is killed", file=sys.stderr)
        process.kill()
    if not _ended(family, 5):
        for left in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
    installation.running.unlink(missing_ok=True)
    print("stopped")
    return 0


def status(installation: Installation, as_json: bool = False) -> int:
    """Exit status 3 where it isn't running, as init scripts have it. Raises Refused where it runs but is silent."""
    if daemon_pid(installation) is None:
        if as_json:
            print(json.dumps({"running": False, "files": str(installation.folder)}))
        else:
            print(f"not running ({installation.folder}): python -m local start")
        return 3
    if as_json:
        print(status_command.as_json(installation))
    else:
        print(status_command.in_words(installation, status_command.overview(installation)))
    return 0


def watch(installation: Installation) -> int:
    """Prints the page's address. Raises Problem where nothing would answer there."""
    if daemon_pid(installation) is None:
        raise Problem(f"not running ({installation.folder}): python -m local start")
    print(status_command.page_url(installation))
    return 0


def logs(installation: Installation, follow: bool, as_json: bool = False) -> int:
    if not installation.log.exists():
        raise Problem("there is no log yet: python -m local start")
    with installation.log.open(encoding="utf-8", errors="replace") as stream:
        while True:
            line = stream.readline()
            if line:
                told = log_lines.parse(line)
                print(json.dumps(told) if as_json else log_lines.as_text(told), flush=True)
            elif follow:
                time.sleep(0.2)
            else:
                return 0


def daemon_pid(installation: Installation) -> int | None:
    """The daemon that serves this folder and answers; None when there is none."""
    try:
        pid = int(json.loads(installation.running.read_text(encoding="utf-8"))["pid"])
        arguments = psutil.Process(pid).cmdline()
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    # The pid may belong to someone else by now.
    return pid if "local" in " ".join(arguments) and str(installation.folder) in arguments else None


def _ended(processes: list[psutil.Process], seconds: float) -> bool:
    """Waits for all to end, at most so long. Unlike psutil's own waiting it takes a process for ended that its parent
    has not taken note of yet: the one of the daemon is init, which in a container may take seconds."""
    deadline = time.monotonic() + seconds
    while any(_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _spawn(installation: Installation) -> subprocess.Popen[bytes]:
    # The daemon is nobody's client: tokens of the shell that starts it must not reach it.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MODAL_", "HF_"))}
    if installation.log.exists() and installation.log.stat().st_size > LOG_BYTES:
        installation.log.replace(installation.log.with_suffix(".log.1"))
    with installation.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "local", "daemon", "--dir", str(installation.folder)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _last_error(installation: Installation) -> str:
    lines = map(log_lines.parse, installation.log.read_text(encoding="utf-8", errors="replace").splitlines())
    errors = [line["message"] for line in lines if line.get("level") == "ERROR"]
    return errors[-1] if errors else f"see {installation.log}"
