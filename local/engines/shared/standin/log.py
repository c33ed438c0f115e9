"""Log lines in the engine's form, one write each so that two processes never mix theirs."""

from __future__ import annotations

import os
import time

_prefix = ""


def set_prefix(prefix: str) -> None:
    """What this process puts behind the time, such as ` TP0`."""
    global _prefix
    _prefix = prefix


def log(message: str) -> None:
    raw(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}{_prefix}] {message}\n")


def raw(text: str) -> None:
    """Text as it stands, to standard error."""
    os.write(2, text.encode())


def out(text: str) -> None:
    """A line to standard output, at once."""
    os.write(1, (text + "\n").encode())
