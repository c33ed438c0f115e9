"""`python -m local run -- COMMAND…`: any command, against the local cloud instead of Modal."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from local import control
from local.installation import Installation

NOT_FOUND = 127
NOT_RUNNABLE = 126
"""Exit statuses as shells have them."""


def add(commands: Any, default_folder: Path) -> None:
    command: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="a command against the local cloud: python -m local run -- modal deploy my_app.py",
        usage="python -m local run [--dir DIR] -- COMMAND …",
    )
    command.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    command.add_argument("--dir", type=Path, default=default_folder, help="its folder ($LOCAL_DIR, or .local)")


def run(options: argparse.Namespace) -> int:
    """Starts the cloud where none runs, and becomes the command, in the same folder and with the same terminal: its
    exit status and its signals are its own. The cloud goes on afterwards. Raises control.Problem."""
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise control.Problem("nothing to run: python -m local run -- modal deploy my_app.py")
    installation = Installation.open(options.dir.absolute())
    if control.daemon_pid(installation) is None:
        # What the command prints must stay the only thing on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            control.start(installation, foreground=False)
    environment = {**os.environ, **installation.environment()}
    # A profile that the shell names need not exist on this machine, and the SDK refuses one that doesn't.
    environment.pop("MODAL_PROFILE", None)
    # The modal CLI of this environment serves where the shell has none of its own.
    own = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), own])
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(words[0], words, environment)
    except FileNotFoundError:
        print(f"local: {words[0]}: no such command; typed was: {shlex.join(words)}", file=sys.stderr)
        return NOT_FOUND
    except OSError as error:
        print(f"local: {words[0]}: {error.strerror}", file=sys.stderr)
        return NOT_RUNNABLE
