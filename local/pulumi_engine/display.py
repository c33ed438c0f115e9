"""What one update shows: lines for people, and the same as JSON events for the Automation API (`--event-log FILE`)."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from local.pulumi_engine.state import State
from local.pulumi_engine.values import UNKNOWN, Properties, mapped, masked

_OPERATIONS = {
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
    result: str = ""
    """The operation that a refresh turned out to be: same, update or delete."""

    @property
    def state(self) -> State:
        return cast(State, self.new or self.old)


class Display:
    """Its methods are called from many threads."""

    def __init__(self, kind: str, stack: str, *, dry_run: bool, event_log: str | None) -> None:
        self._dry = dry_run
        self._began: dict[Step, float] = {}
        self._last: dict[str, Step] = {}
        self._failed: set[str] = set()
        self._numbers = itertools.count()
        self._start, self._lock = time.monotonic(), threading.RLock()
        # Each event is on disk before the next step: the Automation API reads along.
        self._events = Path(event_log or os.devnull).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.changes: Counter[str] = Counter()
        self.say = partial(self.log, "info", "")  # a line that the program or the provider printed
        doing = f"Previewing {kind}" if dry_run else f"{kind.title().removesuffix('e')}ing"
        print(f"{doing} ({stack}):\n", flush=True)

    def begin(self, step: Step) -> None:
        with self._lock:
            self._began[step], self._last[step.state.urn] = time.monotonic(), step
            self._emit_step("resourcePreEvent", step)
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
                self._emit_step("resOutputsEvent", step)

    def outputs_registered(self, state: State) -> None:
        """A component or the stack is complete."""
        with self._lock:
            self._emit_step("resOutputsEvent", self._last[state.urn])

    def log(self, severity: str, urn: str, message: str) -> None:
        """A message about a resource, or about the stack."""
        with self._lock:
            prefix = "" if severity == "info" else f"{severity}: "
            self._emit("diagnosticEvent", urn=urn, severity=severity, prefix=prefix, message=message, color="")
            about = f"{urn.rsplit('::', 1)[1]}: " if "pulumi-python:dynamic" in urn else ""
            self._failed |= {urn} if severity == "error" else set()
            print(f"    {about}{prefix}{message.rstrip()}".replace("\n", "\n    "), flush=True)

    def close(self, outputs: Properties, *, failed: bool) -> None:
        """The end of an update; `outputs`: those of the stack, where they are to be shown."""
        with self._lock:
            lines = [""]
            width = max(map(len, outputs), default=0)
            if outputs:
                lines += ["Outputs:", *(f"    {k:<{width}}: {_shown(v)}" for k, v in sorted(outputs.items())), ""]
            changed = [op for op in ("create", "update", "delete", "replace") if self.changes[op]]
            ends = {op: f"to {op}" if self._dry else f"{op}d" for op in changed}
            lines += ["Resources:", *(f"    {_OPERATIONS[op][0]}{self.changes[op]} {ends[op]}" for op in changed)]
            if self.changes["same"]:
                total = f"{sum(self.changes[op] for op in changed)} changes. " if len(changed) > 1 else ""
                lines.append(f"    {total}{self.changes['same']} unchanged")
            lines += [f"    {len(self._failed)} errored"] if self._failed else []
            seconds = int(time.monotonic() - self._start)
            print("\n".join([*lines, "", *([] if self._dry else [f"Duration: {seconds}s\n"])]), flush=True)
            totals = {"durationSeconds": seconds, "resourceChanges": dict(self.changes), "PolicyPacks": {}}
            result = {"isPreview": self._dry, "result": "failed" if failed else "succeeded"}
            self._emit("summaryEvent", maybeCorrupt=False, **totals, **result)
            self._emit("cancelEvent")
            self._events.close()

    def _emit(self, kind: str, **content: Any) -> None:
        event = {"sequence": next(self._numbers), "timestamp": int(time.time()), kind: content}
        self._events.write(f"{json.dumps(event, ensure_ascii=False)}\n")

    def _emit_step(self, kind: str, step: Step) -> None:
        op = step.op if kind == "resourcePreEvent" else step.result or step.op
        resource = {"urn": step.state.urn, "type": step.state.type, "provider": step.state.provider}
        sides = {
            side: state and {**vars(state), "inputs": masked(state.inputs), "outputs": masked(state.outputs)}
            for side, state in (("old", step.old), ("new", step.new))
        }
        self._emit(kind, metadata={"op": op, **resource, **sides})

    def _row(self, step: Step, op: str, ending: str, more: str) -> None:
        state, (sign, verb, what) = step.state, _OPERATIONS[op]
        if not state.is_provider:
            by_sign = {sign: [key for key, of in step.changes.items() if of == sign] for sign in "+-~"}
            changes = "".join(sign + ",".join(keys) for sign, keys in by_sign.items() if keys)
            notes = "[retain] " * ("delete" in op and state.retainOnDelete) + f"[diff: {changes}]" * bool(changes)
            print(f" {sign} {state.type} {state.name} {verb}{ending}{what} {more} {notes}".rstrip(), flush=True)


def _shown(value: Any) -> str:
    plain = mapped(value, leaf=lambda it: "[unknown]" if it == UNKNOWN else it, mark=lambda _: "[secret]")
    text = json.dumps(plain, ensure_ascii=False, indent=4).replace("\n", "\n    ")
    return str(plain) if plain in ("[unknown]", "[secret]") else text
