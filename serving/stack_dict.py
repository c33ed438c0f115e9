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

    def ready(self, release: str, phases: dict[str, float], requests: int) -> None:
        """`phases` in seconds; `requests` is how many the engine has answered by now: the warm-up's."""
        self._started("ready", release, {"phases": phases, "requests": requests})

    def failed(self, release: str, error: str) -> None:
        self._started("failed", release, {"error": error})

    def _started(self, how: str, release: str, facts: dict[str, Any]) -> None:
        self._put(f"{how}/{release}", {"at": time.time(), "container": os.environ.get("MODAL_TASK_ID", ""), **facts})

    def _put(self, key: str, value: dict[str, Any]) -> None:
        try:
            if self._dict is None:
                import modal

                self._dict = modal.Dict.from_name(self._name, create_if_missing=True)
            self._dict.put(key, value)
        except Exception as error:
            print_line(f"[report] could not write {key} to the Dict {self._name}: {error}")
