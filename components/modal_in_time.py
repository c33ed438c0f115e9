"""Asks Modal in a process of its own, within a time limit: the SDK goes on trying for a minute where Modal cannot be
reached.
"""

from __future__ import annotations

import subprocess
import sys


class NoAnswer(Exception):
    """In a few words why there is none."""


def printed_by(module: str, *arguments: str, seconds: float) -> str:
    """What `python -m MODULE …` prints. Raises NoAnswer, with the last line of its errors where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"Modal did not answer within {seconds:g} s") from None
    if asked.returncode != 0:
        raise NoAnswer((asked.stderr.strip().splitlines() or ["Modal could not be asked"])[-1])
    return asked.stdout
