"""What one update shows: lines for people, and the same as JSON events for the Automation API (`--event-log`)."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.pulumi_engine.state import State
from local.pulumi_engine.values import UNKNOWN, Properties, is_secret, mapped, masked

_OPERATIONS = {
    "same": ("  ", "", ""),
    "create": ("+ ", "creat", ""),
    "update": ("~ ", "updat", ""),
    "delete": ("- ", "delet", ""),
    "replace": ("+-", "replac", ""),
    "create-replacement": ("++", "creat", " replacement"),
    "delete-replaced": ("--", "delet", " original"),
    "remove-pending-replace": ("~ ", "complet", " replace"),
    "refresh": ("~ ", "refresh", ""),
}
"""Sign, verb without its ending, object."""


@dataclass(eq=False)
class Step:
    """One operation on one resource."""

    op: str
    old: State | None
    new: State | None
    changes: dict[str, str] = field(default_factory=dict)
    """Top-level inputs that differ, each with its sign."""
    ahead: bool = False
    """An original that goes before its replacement comes."""
    result: str = ""
    """The operation that a refresh turned out to be: same, update or delete."""

    @property
    def state(self) -> State:
        state = self.new or self.old
        assert state
        return state


class Display:
    """Its methods are called from many threads."""

    def __init__(self, kind: str, stack: str, *, dry_run: bool, event_log: str | None) -> None:
        """`kind` is update, refresh or destroy."""
        self._dry = dry_run
        self._began: dict[Step, float] = {}
        self._last: dict[str, Step] = {}
        self._failed: set[str] = set()
        self._start, self._lock, self._events = time.monotonic(), threading.RLock(), _EventLog(event_log or "")
        self.changes: Counter[str] = Counter()
        doing = f"Previewing {kind}" if dry_run else f"{kind.title().removesuffix('e')}ing"
        print(f"{doing} ({stack}):\n", flush=True)

    def begin(self, step: Step) -> None:
        with self._lock:
            self._began[step], self._last[step.state.urn] = time.monotonic(), step
            self._events.step("resourcePreEvent", step)
            if not self._dry and step.op != "same":
                self._row(step, step.op, "ing", "(0s)")

    def end(self, step: Step) -> None:
        with self._lock:
            op = step.result or step.op
            if not step.state.is_provider:
                if op not in ("create-replacement", "delete-replaced", "remove-pending-replace"):
                    self.changes[op] += 1
                if op != "same":
                    seconds = f"({time.monotonic() - self._began[step]:.2f}s)"
                    self._row(step, op, *(("e", "") if self._dry else ("ed", seconds)))
            if step.state.custom or step.op not in ("create", "same", "update"):
                self._events.step("resOutputsEvent", step)

    def outputs_registered(self, state: State) -> None:
        """A component or the stack is complete."""
        with self._lock:
            self._events.step("resOutputsEvent", self._last[state.urn])

    def error(self, state: State, message: str) -> None:
        self._last.setdefault(state.urn, Step("same", None, state))
        self.log("error", state.urn, message)

    def log(self, severity: str, urn: str, message: str) -> None:
        """A message about a resource, or about the stack."""
        with self._lock:
            prefix = "" if severity == "info" else f"{severity}: "
            self._events.emit("diagnosticEvent", urn=urn, severity=severity, prefix=prefix, message=message, color="")
            about = f"{self._last[urn].state.name}: " if urn in self._last and self._last[urn].state.custom else ""
            self._failed |= {urn} if severity == "error" else set()
            print(f"    {about}{prefix}{message.rstrip()}".replace("\n", "\n    "), flush=True)

    def say(self, line: str) -> None:
        """A line that the program or the provider printed."""
        self.log("info", "", line)

    def close(self, outputs: Properties, *, failed: bool) -> None:
        """The end of an update; `outputs`: those of the stack, where they are to be shown."""
        with self._lock:
            lines = [""]
            width = max(map(len, outputs), default=0)
            if outputs:
                lines += ["Outputs:", *(f"    {k:<{width}}: {_shown(v)}" for k, v in sorted(outputs.items())), ""]
            changed = [op for op in ("create", "update", "delete", "replace") if self.changes[op]]
            lines.append("Resources:")
            for op in changed:
                sign, verb, _ = _OPERATIONS[op]
                lines.append(f"    {sign}{self.changes[op]} {f'to {verb}e' if self._dry else f'{verb}ed'}")
            if self.changes["same"]:
                total = f"{sum(self.changes[op] for op in changed)} changes. " if len(changed) > 1 else ""
                lines.append(f"    {total}{self.changes['same']} unchanged")
            lines += [f"    {len(self._failed)} errored"] if self._failed else []
            seconds = int(time.monotonic() - self._start)
            print("\n".join([*lines, "", *([] if self._dry else [f"Duration: {seconds}s\n"])]), flush=True)
            totals = {"durationSeconds": seconds, "resourceChanges": dict(self.changes), "PolicyPacks": {}}
            result = {"isPreview": self._dry, "result": "failed" if failed else "succeeded"}
            self._events.emit("summaryEvent", maybeCorrupt=False, **totals, **result)
            self._events.close()

    def _row(self, step: Step, op: str, ending: str, more: str) -> None:
        state, (sign, verb, what) = step.state, _OPERATIONS[op]
        if not state.is_provider:
            by_sign = {sign: [key for key, of in step.changes.items() if of == sign] for sign in "+-~"}
            changes = "".join(sign + ",".join(keys) for sign, keys in by_sign.items() if keys)
            notes = "[retain] " * ("delete" in op and state.retainOnDelete) + f"[diff: {changes}]" * bool(changes)
            print(f" {sign} {state.type} {state.name} {verb}{ending}{what} {more} {notes}".rstrip(), flush=True)


def _shown(value: Any) -> str:
    if value == UNKNOWN or is_secret(value):
        return "[unknown]" if value == UNKNOWN else "[secret]"
    plain = mapped(value, leaf=lambda it: "[unknown]" if it == UNKNOWN else it, mark=lambda _: "[secret]")
    return json.dumps(plain, ensure_ascii=False, indent=4).replace("\n", "\n    ")


class _EventLog:
    """Writes events to a file, or to tcp:// as gRPC."""

    def __init__(self, target: str) -> None:
        """Without a target nothing is written."""
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._number = 0
        self._writer = threading.Thread(target=self._write, args=[target], daemon=True)
        self._writer.start()

    def emit(self, kind: str, **content: Any) -> None:
        event = {"sequence": self._number, "timestamp": int(time.time()), kind: content}
        self._number += 1
        self._events.put(json.dumps(event, ensure_ascii=False))

    def step(self, kind: str, step: Step) -> None:
        def plain(state: State | None) -> dict[str, Any] | None:
            return (
                None
                if state is None
                else {**vars(state), "inputs": masked(state.inputs), "outputs": masked(state.outputs)}
            )

        op = step.op if kind == "resourcePreEvent" else step.result or step.op
        resource = {"urn": step.state.urn, "type": step.state.type, "provider": step.state.provider}
        self.emit(kind, metadata={"op": op, **resource, "old": plain(step.old), "new": plain(step.new)})

    def close(self) -> None:
        self.emit("cancelEvent")
        self._events.put(None)
        self._writer.join(10)

    def _write(self, target: str) -> None:
        events = iter(self._events.get, None)
        if target.startswith("tcp://"):
            import grpc
            from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
            from pulumi.runtime.proto import events_pb2, events_pb2_grpc

            with grpc.insecure_channel(target.removeprefix("tcp://"), options=_GRPC_CHANNEL_OPTIONS) as channel:
                stub = events_pb2_grpc.EventsStub(channel)
                stub.StreamEvents(events_pb2.EventRequest(event=event) for event in events)
        elif target:
            with Path(target).open("w", encoding="utf-8", buffering=1) as file:
                file.writelines(f"{event}\n" for event in events)
