"""The engine's events as JSON, for `--event-log`: a file, or tcp:// for the Automation API."""

from __future__ import annotations

import json
import queue
import threading
import time
from pathlib import Path
from typing import Any

from local.pulumi_engine.checkpoint import State
from local.pulumi_engine.properties import masked
from local.pulumi_engine.steps import Step


class EventLog:
    def __init__(self, target: str | None) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._number = 0
        self._writer = threading.Thread(target=self._write, args=[target], daemon=True) if target else None
        if self._writer:
            self._writer.start()

    def emit(self, kind: str, **content: Any) -> None:
        if self._writer:
            event = {"sequence": self._number, "timestamp": int(time.time()), kind: content}
            self._number += 1
            self._lines.put(json.dumps(event, ensure_ascii=False))

    def step(self, kind: str, step: Step) -> None:
        if not self._writer:
            return
        metadata = {
            "op": step.op if kind == "resourcePreEvent" else step.shown,
            "urn": step.state.urn,
            "type": step.state.type,
            "provider": step.state.provider,
            "old": _state(step.old),
            "new": _state(step.new),
            "keys": step.keys or None,
            "logical": step.op not in ("create-replacement", "delete-replaced"),
            "detailedDiff": None,
        }
        self.emit(kind, metadata=metadata)

    def close(self) -> None:
        self.emit("cancelEvent")
        if self._writer:
            self._lines.put(None)
            self._writer.join(10)

    def _write(self, target: str) -> None:
        lines = iter(self._lines.get, None)
        if not target.startswith("tcp://"):
            with Path(target).open("w", encoding="utf-8", buffering=1) as file:
                file.writelines(f"{line}\n" for line in lines)
            return
        import grpc
        from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
        from pulumi.runtime.proto import events_pb2, events_pb2_grpc

        with grpc.insecure_channel(target.removeprefix("tcp://"), options=_GRPC_CHANNEL_OPTIONS) as channel:
            events_pb2_grpc.EventsStub(channel).StreamEvents(events_pb2.EventRequest(event=line) for line in lines)


def _state(state: State | None) -> dict[str, Any] | None:
    if state is None:
        return None
    plain = {key: getattr(state, key) for key in ("type", "urn", "custom", "delete", "id", "parent", "provider")}
    return {**plain, "inputs": masked(state.inputs), "outputs": masked(state.outputs)}
