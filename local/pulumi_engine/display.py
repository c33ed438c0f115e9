"""What one update prints: a line for each beginning and end, then diagnostics, outputs and a summary."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import Any

from local.pulumi_engine.checkpoint import STACK_TYPE, State
from local.pulumi_engine.diff import property_lines, summary_of
from local.pulumi_engine.events import EventLog
from local.pulumi_engine.properties import Properties
from local.pulumi_engine.steps import WORDS, Step

_COLOURS = {"+": "32", "~": "33", "-": "31", "error": "31", "warning": "33"}
_SUMMARY_ORDER = ("create", "update", "delete", "replace")
TITLES = {"update": "Updating", "refresh": "Refreshing", "destroy": "Destroying"}


class Display:
    """Its methods are called from many threads."""

    def __init__(self, kind: str, stack: str, project: str, events: EventLog, **options: bool) -> None:
        """`kind` is update, refresh or destroy; the options are dry_run, diff, colour, suppress_outputs."""
        self._kind, self._events, self._options = kind, events, options
        self._stack = State(f"urn:pulumi:{stack}::{project}::{STACK_TYPE}::{project}-{stack}", False, STACK_TYPE)
        self._steps: dict[str, Step] = {}
        self._began: dict[Step, float] = {}
        self._messages: dict[str, list[tuple[str, str]]] = {}
        self._names: dict[str, State] = {self._stack.urn: self._stack}
        self._failed: set[str] = set()
        self._start, self._lock = time.monotonic(), threading.RLock()
        self.changes: Counter[str] = Counter()
        self._dry = options["dry_run"]
        title = f"Previewing {kind}" if self._dry else TITLES[kind]
        self._print(f"{title} ({stack}):\n")

    def begin(self, step: Step) -> None:
        with self._lock:
            self._steps[step.state.urn], self._began[step] = step, time.monotonic()
            self._names[step.state.urn] = step.state
            self._events.step("resourcePreEvent", step)
            if self._options["diff"]:
                self._print_difference(step)
            elif not self._dry and step.op != "same":
                self._row(step, f"{WORDS[step.op][2]} (0s)")

    def end(self, step: Step) -> None:
        with self._lock:
            if not step.state.is_provider:
                if step.op not in ("create-replacement", "delete-replaced", "remove-pending-replace"):
                    self.changes[step.shown] += 1
                if step.shown != "same" and step.state.urn != self._stack.urn and not self._options["diff"]:
                    self._row(step, WORDS[step.shown][1] if self._dry else self._took(step, WORDS[step.shown][3]))
            if step.state.custom or step.op not in ("create", "same", "update"):
                self._events.step("resOutputsEvent", step)

    def outputs_registered(self, state: State) -> None:
        """A component or the stack is complete."""
        with self._lock:
            self._events.step("resOutputsEvent", self._steps[state.urn])

    def failed(self, step: Step, message: str) -> None:
        with self._lock:
            self._events.step("resOpFailedEvent", step)
            self.error(step.state, message)
            self._row(step, f"**{WORDS[step.op][2] or step.op} failed**")

    def error(self, state: State, message: str) -> None:
        self._names[state.urn] = state
        self._failed.add(state.urn)
        self.log("error", state.urn, message)

    def log(self, severity: str, urn: str, message: str) -> None:
        """A message about a resource, the stack's where `urn` is empty or unknown."""
        with self._lock:
            urn = urn if urn in self._names else self._stack.urn
            self._failed |= {urn} if severity == "error" else set()
            self._messages.setdefault(urn, []).append((severity, message.rstrip("\n")))
            prefix = f"{severity}: " if severity in ("error", "warning") else ""
            self._events.emit("diagnosticEvent", urn=urn, severity=severity, prefix=prefix, message=message, color="")
            step = self._steps.get(urn)
            first = prefix + message.split("\n", 1)[0]
            if self._options["diff"]:
                self._print(prefix + message)
            elif step:
                word = (
                    WORDS[step.op][1] if self._dry else self._took(step, WORDS[step.op][2]) if WORDS[step.op][2] else ""
                )
                self._row(step, f"{word or 'running'} {first}")
            else:
                self._print(f"    {self._names[urn].type} {self._names[urn].name}  {first}")

    def say(self, line: str) -> None:
        """A line that the program or the provider printed."""
        self.log("info", "", line)

    def close(self, old: Properties | None, new: Properties, *, failed: bool) -> None:
        """The end of an update; `old` is None where there was no stack before."""
        with self._lock:
            if not self._options["diff"]:
                self._print_stack_row(failed)
                self._print_diagnostics()
            lines = property_lines(old, new, 4, only_changes=self._dry)
            if lines and self._kind == "update" and not self._options["suppress_outputs"]:
                head = "    --outputs:--" if self._options["diff"] else "Outputs:"
                self._print("\n".join([head, *lines]) + ("" if self._options["diff"] else "\n"))
            self._print_summary()
            seconds = int(time.monotonic() - self._start)
            if not self._dry:
                self._print(f"Duration: {seconds}s\n")
            result = {"isPreview": self._dry, "result": "failed" if failed else "succeeded"}
            totals = {"durationSeconds": seconds, "resourceChanges": dict(self.changes), "PolicyPacks": {}}
            self._events.emit("summaryEvent", maybeCorrupt=False, **totals, **result)
            self._events.close()

    def _print_stack_row(self, failed: bool) -> None:
        step = self._steps.get(self._stack.urn) or Step("same", self._stack, self._stack)
        word = WORDS[step.op][1] if self._dry else self._took(step, WORDS[step.op][3]) if step.op == "create" else ""
        if failed and not self._dry:
            word = f"**{WORDS[step.op][2]} failed**".replace("** ", "**")
        severities = Counter(severity for severity, _ in self._messages.get(self._stack.urn, ()))
        counts = [(severities[name], name) for name in ("error", "warning")]
        counts.append((severities["info"] + severities["info#err"], "message"))
        self._row(step, f"{word} " + "; ".join(f"{n} {name}{'s' * (n > 1)}" for n, name in counts if n))

    def _print_diagnostics(self) -> None:
        if not self._messages:
            return
        self._print("Diagnostics:")
        for urn, messages in self._messages.items():
            self._print(f"  {self._names[urn].type} ({self._names[urn].name}):")
            texts = [f"{severity}: {text}" if severity != "info" else text for severity, text in messages]
            self._print("".join(f"    {line}\n" for text in texts for line in text.split("\n")))

    def _print_summary(self) -> None:
        self._print("Resources:")
        kinds = [op for op in _SUMMARY_ORDER if self.changes[op]]
        for op in kinds:
            sign, preview, _, done = WORDS[op]
            self._print(f"    {sign}{self.changes[op]} {f'to {preview}' if self._dry else done}")
        unchanged = f"{self.changes['same']} unchanged"
        if len(kinds) > 1:
            unchanged = f"{sum(self.changes[op] for op in kinds)} changes. {unchanged}"
        if self.changes["same"]:
            self._print(f"    {unchanged}")
        if self._failed:
            self._print(f"    {len(self._failed)} errored")
        self._print("")

    def _print_difference(self, step: Step) -> None:
        """The block of `--diff` for one step."""
        state, parent, depth = step.state, step.state.parent, 0
        if (
            state.is_provider
            or (step.op == "same" and state.type != STACK_TYPE)
            or step.op in ("create-replacement", "delete-replaced")
        ):
            return
        while parent := self._names[parent].parent if parent in self._names else "":
            depth += 1
        pad = "    " * (depth + bool(state.parent))
        sign = WORDS[step.op][0]
        lines = [f"{pad}{sign}{state.type}: ({step.op})"]
        if step.old and step.old.id:
            lines.append(f"{pad}    [id={step.old.id}]")
        lines.append(f"{pad}    [urn={state.urn}]")
        if step.op != "same":
            comparable = step.old.inputs if step.old and step.new else None
            lines += property_lines(comparable, state.inputs, len(pad) + 4)
        self._print("\n".join(lines))

    def _took(self, step: Step, word: str) -> str:
        seconds = time.monotonic() - self._began.get(step, self._start)
        return f"{word} ({seconds:.0f}s)" if "ing" in word else f"{word} ({seconds:.2f}s)"

    def _row(self, step: Step, text: str) -> None:
        state = step.state
        if state.is_provider:
            return
        retained = "[retain]" if "delete" in step.op and state.retainOnDelete else ""
        changed = f" [diff: {summary_of(step.changes)}]" if step.changes else ""
        self._print(f" {WORDS[step.shown][0]} {state.type} {state.name} {text}{retained}{changed}")

    def _print(self, text: Any) -> None:
        if self._options["colour"] and (found := re.match(r"\s*([+~-]|error|warning)", text)):
            text = f"\x1b[{_COLOURS[found.group(1)]}m{text}\x1b[0m"
        print(text, flush=True)
