"""A command in a terminal of its own: what a person sees, and Ctrl-C as a person types it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from pathlib import Path

_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    def __init__(self, command: list[str], cwd: Path, environ: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))  # rows, columns
        self.process = subprocess.Popen(
            # A new session has no terminal; the first one it opens becomes its own, whose Ctrl-C is its SIGINT.
            ["bash", "-c", 'exec 0<>"$0" 1>&0 2>&0 && exec "$@"', os.ttyname(slave), *command],
            cwd=cwd,
            env=environ,
            start_new_session=True,
        )
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read, args=(slave,), daemon=True)
        self._reader.start()

    @property
    def printed(self) -> str:
        """So far, without colours."""
        return _CONTROL.sub(b"", bytes(self._printed)).decode(errors="replace")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def wait(self, seconds: float) -> tuple[int, str]:
        """Exit status and everything printed; raises TimeoutExpired."""
        code = self.process.wait(seconds)
        self._reader.join(2)
        return code, self.printed

    def _read(self, slave: int) -> None:
        try:
            while printed := os.read(self._master, 65536):
                self._printed += printed
                if slave >= 0:
                    os.close(slave)  # the command has the terminal open by now
                    slave = -1
        except OSError:
            return  # nobody has the terminal open any more
