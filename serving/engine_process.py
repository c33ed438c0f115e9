"""An engine as a process of its own session: started, watched, stopped with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from serving.log_pump import LogPump

_PIPE_DRAIN_SECONDS = 2.0
_PUMP_NICENESS = 10


class EngineProcess:
    """Starts at construction. `exited` is set the moment the process ends; `returncode` is its status then."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        pump: LogPump,
        on_exit: Callable[[], None] | None = None,
    ) -> None:
        self.exited = threading.Event()
        self.pump = pump
        self._on_exit = on_exit
        # A session of its own: the engine's many workers die with one killpg, and signals meant for us spare them.
        self._process = subprocess.Popen(
            list(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._pump_thread = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._pump_thread.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        # Lines come in the very moment in which a first token is due; forwarding them can wait for a core.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PUMP_NICENESS)
        with stream:
            self.pump.run(stream)

    def _wait(self) -> None:
        self._process.wait()
        # Workers that outlive the engine hold its pipe open: give the last words a moment, not for ever.
        self._pump_thread.join(_PIPE_DRAIN_SECONDS)
        self.exited.set()
        if self._on_exit:
            self._on_exit()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As `subprocess` gives it (negative = signal); None while running."""
        return self._process.returncode if self.exited.is_set() else None

    @property
    def last_lines(self) -> list[str]:
        return list(self.pump.last_lines)

    def terminate(self, grace: float) -> int | None:
        """SIGTERM to the engine, up to `grace` seconds for it to drain, then SIGKILL to all of its session.

        Returns the status of an engine that ended by itself in time, None of one that had to be killed.
        """
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        in_time = self.exited.wait(grace)
        code = self.returncode if in_time else None
        self.kill()
        return code

    def kill(self) -> None:
        """SIGKILL to the whole process group, the engine's orphans included. Returns when the engine is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.exited.wait(_PIPE_DRAIN_SECONDS + 3)
