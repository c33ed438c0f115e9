"""What a local cloud holds, read from its database beside it: every object, call and container, dead or alive."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modal_proto import api_pb2

from local.modal_cloud import records
from local.modal_cloud.codec import decode

R = TypeVar("R")


@dataclass(frozen=True)
class JobCall:
    function: str
    created: float
    ended: float | None
    status: str
    """`success`, `failure`, `terminated`, … or `unfinished`."""
    worked: bool
    """It succeeded, and not by finding everything done."""


class CloudState:
    def __init__(self, folder: Path) -> None:
        """`folder` is $LOCAL_DIR; the state is that of this moment."""
        with contextlib.closing(sqlite3.connect(f"file:{folder / 'state' / 'cloud.sqlite'}?mode=ro", uri=True)) as base:

            def read(table: str, kind: type[R]) -> list[R]:
                return [decode(kind, body) for (body,) in base.execute(f"SELECT body FROM {table}")]

            self.volumes = sorted(volume.name for volume in read("volumes", records.Volume) if volume.name)
            self.secrets = sorted(secret.name for secret in read("secrets", records.Secret) if secret.name)
            self.dicts = sorted(found.name for found in read("dicts", records.Dict) if found.name)
            self._apps = {app.id: app for app in read("apps", records.App)}
            self._functions = {function.id: function for function in read("functions", records.Function)}
            self._tasks = read("tasks", records.Task)
            self._calls = read("calls", records.FunctionCall)
            self._inputs = {item.id: item for item in read("inputs", records.Input)}

    @property
    def apps(self) -> list[str]:
        """Names of those that are deployed."""
        return sorted(app.name for app in self._apps.values() if app.running)

    def versions(self, name: str) -> int:
        return max((len(app.versions) for app in self._apps.values() if app.name == name), default=0)

    def containers(self) -> list[str]:
        """`app/function` of each that has not ended."""
        return sorted(
            f"{self._apps[task.app_id].name}/{self._functions[task.function_id].name}"
            for task in self._tasks
            if task.finished_at is None and task.app_id in self._apps and task.function_id in self._functions
        )

    def jobs(self, app: str) -> list[JobCall]:
        """Calls of the pipeline app's functions, in the order in which they were made."""
        found = []
        for call in sorted(self._calls, key=lambda call: call.created_at):
            if self._apps[call.app_id].name != app or call.function_id not in self._functions:
                continue
            for item in (self._inputs[number] for number in call.input_ids if number in self._inputs):
                status, result = _outcome(item)
                worked = status == "success" and not result.get("skipped", False)
                name = self._functions[call.function_id].name
                found.append(JobCall(name, call.created_at, item.ended_at, status, worked))
        return found


def _outcome(item: records.Input) -> tuple[str, dict[str, Any]]:
    if item.state is not records.InputState.DONE or item.result is None:
        return "unfinished", {}
    name = api_pb2.GenericResult.GenericStatus.Name(item.result.status).removeprefix("GENERIC_STATUS_").lower()
    result = pickle.loads(item.result.data) if name == "success" and item.result.data else {}
    return name, result if isinstance(result, dict) else {}
