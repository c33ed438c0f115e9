"""What containers tell the deploying side, through the stack's `modal.Dict`: progress of jobs, how a start ended."""

from __future__ import annotations

import os
import time
from typing import Any

from serving.log_pump import print_line


class StackDict:
    """Writes never raise: a job that costs $50 an hour must not fail because nobody could be told about it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._dict: Any = None

    def progress(self, job: str, line: str) -> None:
        print_line(line)
        self._put(f"progress/{job}", {"line": line, "at": time.time()})

    def admits(self, claim: str, call_id: str) -> bool:
        """Whether the call may do the work that `claim` (`claim/<job>/<number>`) stands for; it then names it.

        Whoever spawned it may have died before writing down its id. A claim that names another call, or has a
        successor, is no longer ours. Where nobody can be asked the answer is yes.
        """
        job, _, number = claim.rpartition("/")
        try:
            entries = self._entries()
            entry = entries.get(claim)
            if entry is None or entries.contains(f"{job}/{int(number) + 1}") or entry["call"] not in (None, call_id):
                return entry is None
            if entry["call"] is None:
                entries.put(claim, {**entry, "call": call_id})
        except Exception as error:
            print_line(f"[report] could not read {claim} in the Dict {self._name}: {error}")
        return True

    def ready(self, release: str, phases: dict[str, float], requests: int) -> None:
        """`phases` in seconds; `requests` is how many the engine has answered by now: the warm-up's."""
        self._started("ready", release, {"phases": phases, "requests": requests})

    def failed(self, release: str, error: str) -> None:
        self._started("failed", release, {"error": error})

    def _started(self, how: str, release: str, facts: dict[str, Any]) -> None:
        self._put(f"{how}/{release}", {"at": time.time(), "container": os.environ.get("MODAL_TASK_ID", ""), **facts})

    def _put(self, key: str, value: dict[str, Any]) -> None:
        try:
            self._entries().put(key, value)
        except Exception as error:
            print_line(f"[report] could not write {key} to the Dict {self._name}: {error}")

    def _entries(self) -> Any:
        if self._dict is None:
            import modal

            self._dict = modal.Dict.from_name(self._name, create_if_missing=True)
        return self._dict
