"""What one update does: from each resource's old and wanted state to steps, and the steps carried out.

The order follows the CLI: a resource is checked and compared when the program registers it, replacements are created
before their originals are deleted unless the resource says otherwise, and what the program no longer has is deleted
last, dependents first.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pulumi.runtime.proto.provider_pb2 import DiffResponse

from local.pulumi_engine.display import Display, Step
from local.pulumi_engine.state import PROVIDER_TYPE, STACK_TYPE, Snapshot, State, now
from local.pulumi_engine.values import UNKNOWN, Properties, bare, changed_keys

if TYPE_CHECKING:
    from local.pulumi_engine.processes import DynamicProvider

_PENDING = {"create": "creating", "create-replacement": "creating", "update": "updating"}
_PENDING |= {"delete": "deleting", "delete-replaced": "deleting"}
_PROTECTED = """resource "{}" cannot be {}
because it is protected. To unprotect the resource, remove the `protect` flag from the resource in your Pulumi \
program and run `pulumi up`"""


class Stopped(Exception):
    """The update has failed or was interrupted: nothing new begins. Its text, if any, is still to be shown."""


class Failed(Exception):
    """What a provider's method raised: its last line where it has no frames, else the whole traceback."""


class Deployment:
    def __init__(self, snapshot: Snapshot, provider: DynamicProvider, display: Display, options: Any) -> None:
        """`options` are the command line's: dry_run, parallel, target, exclude_protected, clear_pending_creates."""
        self._salt, self._base = snapshot.salt, list(snapshot.resources)
        self._provider, self._display, self._options = provider, display, options
        self.save: Callable[[Snapshot], None] = lambda _: None
        """Called before and after every step that changes something outside."""
        self._news: list[State] = []
        self._done: set[State] = set()
        self._seen: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._outputs_before: dict[State, Properties] = {}
        # What was being created when an update was killed may exist: that stays on record until a refresh.
        self._pending = [(kind, state) for kind, state in snapshot.pending if kind == "creating"]
        self._planning, self._journal = threading.Lock(), threading.Lock()
        self._slots = threading.Semaphore(options.parallel)
        self.stopped = threading.Event()

    def wait_for_running_steps(self) -> None:
        for _ in range(self._options.parallel):
            self._slots.acquire()
        self._slots.release(self._options.parallel)

    def snapshot(self) -> Snapshot:
        states = self._news + [state for state in self._base if state not in self._done]
        for state in states if self._renamed else []:
            state.change_references(lambda urn: self._renamed.get(urn, urn))
        return Snapshot(states, list(self._pending), self._salt)

    def register(self, new: State, aliases: list[str]) -> State:
        """Brings one resource to what the program wants. Raises Stopped."""
        with self._planning:
            if self.stopped.is_set():
                raise Stopped
            try:
                steps = self._plan(new, self._old(new, aliases))
            except Failed as error:
                self._display.log("error", new.urn, str(error))
                self.stopped.set()
                raise Stopped from None
        for step in steps:
            self._carry_out(step)
        return steps[-1].new or new

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        with self._journal:
            state = next(state for state in self._news if state.urn == urn)
            self._outputs_before[state], state.outputs = state.outputs, outputs
        self._display.outputs_registered(state)

    def keep_outputs(self) -> None:
        """After a failure: what the stack put out before and did not register again stays."""
        for state, olds in self._outputs_before.items():
            state.outputs = {**olds, **state.outputs} if state.type == STACK_TYPE else state.outputs

    def _plan(self, new: State, old: State | None) -> list[Step]:
        if new.urn in self._seen:
            raise Failed(f"Duplicate resource URN '{new.urn}'; try giving it a unique name")
        self._seen.add(new.urn)
        if self._is_left_alone(new):
            if old is None:
                raise Failed("it does not exist yet and is no target; name it with --target as well")
            return [Step("same", old, replace(old))]
        if new.custom:
            new.provider = self._default_provider()
            olds = old.inputs if old else new.inputs
            kept = {key: olds[key] for key in new.ignoreChanges if key in olds}
            new.inputs = {key: value for key, value in new.inputs.items() if key not in new.ignoreChanges} | kept
            new.inputs, refusals = self._provider.check(new, old.inputs if old else {})
            if refusals:
                about = f"{new.type} resource '{new.name}': property"
                raise Failed("\n".join(f"{about} {key} value {{}} has a problem: {why}" for key, why in refusals))
        if old is None or not new.custom:
            return [Step("same" if old else "create", old, new)]
        changes = changed_keys(old.inputs, new.inputs)
        replacing, creating = (Step(op, old, new, changes) for op in ("replace", "create-replacement"))
        if old.pendingReplacement:  # deleted ahead, now or by an update that did not get further
            return [replacing, creating]
        diff = self._provider.diff(old, new.inputs, new.ignoreChanges)
        unsure = diff.changes == diff.DIFF_UNKNOWN
        if diff.changes == diff.DIFF_NONE or (unsure and bare(old.inputs) == bare(new.inputs)):
            return [Step("same", old, new, {"protect": "~"} if old.protect != new.protect else {})]
        if not diff.replaces:
            return [Step("update", old, new, changes)]
        if old.protect and new.protect:
            raise Failed(_PROTECTED.format(new.urn, "replaced"))
        if not diff.deleteBeforeReplace:
            return [creating, replacing]
        ahead = [Step("delete-replaced", state, None) for state in (*self._replaced_with(old), old)]
        return [*ahead, replacing, creating]

    def _old(self, new: State, aliases: list[str]) -> State | None:
        """The resource's state of before, under its URN or an alias."""
        candidates = {state.urn: state for state in self._base if not state.delete and state not in self._done}
        found = next((urn for urn in (new.urn, *aliases) if urn in candidates), None)
        if found and found != new.urn:
            self._renamed[found] = new.urn
        return candidates[found] if found else None

    def _is_left_alone(self, state: State) -> bool:
        beside = bool(self._options.target) and state.urn not in self._options.target
        return beside and (state.type != STACK_TYPE or state in self._base)  # a new stack is made for any target

    def _default_provider(self) -> str:
        """The reference to the one provider of all dynamic resources, which is a resource itself."""
        stack = next(state.urn for state in self._news if state.type == STACK_TYPE)
        urn = f"{stack.rsplit('::', 2)[0]}::{PROVIDER_TYPE}::default"
        new = next((state for state in self._news if state.urn == urn), None)
        if new is None:
            old = next((state for state in self._base if state.urn == urn), None)
            id_ = old.id if old else UNKNOWN if self._options.dry_run else str(uuid.uuid4())
            new = State(urn, True, PROVIDER_TYPE, id=id_, inputs=self._provider.config, outputs=self._provider.config)
            op = "create" if old is None else "same" if old.inputs == new.inputs else "update"
            self._seen.add(urn)
            self._carry_out(Step(op, old, new))
        return f"{urn}::{new.id}"

    def _replaced_with(self, original: State) -> list[State]:
        """What must be replaced when `original` is deleted first, the last dependents first."""
        gone = [original]
        for state in self._base:
            urns = {other.urn for other in gone}
            keys = [key for key, on in state.propertyDependencies.items() if urns & set(on)]
            after = {**state.inputs, **dict.fromkeys(keys, UNKNOWN)}
            unplanned = not state.delete and state.urn not in self._seen
            if keys and unplanned and self._provider.diff(state, after, []).replaces:
                gone.append(state)
        return gone[:0:-1]

    def delete_what_is_gone(self) -> None:
        """After the program's end. Raises Stopped."""
        left = [state for state in self._base if state not in self._done]
        self._delete(s for s in left if s.delete or (s.urn not in self._seen and not self._is_left_alone(s)))

    def destroy(self) -> None:
        """Deletes everything, or what neither is protected nor needed by something protected. Raises Stopped."""
        kept: set[str] = set()
        for state in reversed(self._base):
            protected = state.protect and self._options.exclude_protected
            if protected or self._is_left_alone(state) or state.urn in kept:
                kept |= {state.urn, *state.depends_on()}
        for state in [state for state in self._base if state.urn in kept]:
            self._carry_out(Step("same", state, replace(state)))
        self._delete(state for state in self._base if state.urn not in kept)

    def _delete(self, states: Iterable[State]) -> None:
        """In groups, one after the other: nothing that is left depends on a group's members."""
        left = list(states)[::-1]
        while left:
            needed = set().union(*(state.depends_on() for state in left))
            # An original shares its URN with its replacement, and only other originals can still depend on it.
            needed_originals = set().union(*(state.depends_on() for state in left if state.delete))
            wave = [state for state in left if state.urn not in (needed_originals if state.delete else needed)] or left
            ops = {s: "remove-pending-replace" if s.pendingReplacement else "delete" for s in wave}
            self._carry_out_together(Step("delete-replaced" if s.delete else ops[s], s, None) for s in wave)
            left = [state for state in left if state not in wave]

    def refresh(self) -> None:
        """Puts what really is into the state. Raises Stopped."""
        if self._options.clear_pending_creates:
            self._pending = []
        steps = [Step("refresh", state, replace(state)) for state in self._base]
        try:
            self._carry_out_together(steps)
        finally:
            order = {step.new: place for place, step in enumerate(steps)}
            self._news.sort(key=order.__getitem__)  # dependencies come first
            left = {state.urn for state in self.snapshot().resources}
            for state in self._news:
                state.change_references(lambda urn: urn if urn in left else "")
                state.propertyDependencies = {key: urns for key, urns in state.propertyDependencies.items() if urns}

    def _carry_out_together(self, steps: Iterable[Step]) -> None:
        with ThreadPoolExecutor(self._options.parallel) as pool:
            list(pool.map(self._carry_out, steps))

    def _carry_out(self, step: Step) -> None:
        """Raises Stopped."""
        with self._slots:
            if self.stopped.is_set():
                raise Stopped
            self._display.begin(step)
            operation = (_PENDING.get(step.op, ""), step.state)
            if operation[0]:
                with self._journal:
                    self._pending.append(operation)
                    self.save(self.snapshot())
            try:
                self._apply(step)
                applied = True
            except Failed as error:
                self._display.log("error", step.state.urn, str(error))
                self.stopped.set()
                applied = False
            with self._journal:
                if operation[0]:
                    self._pending.remove(operation)
                if applied:
                    self._record(step)
                if operation[0]:
                    self.save(self.snapshot())
            if not applied:
                raise Stopped
        self._display.end(step)

    def _apply(self, step: Step) -> None:
        """The provider's part. Raises Failed."""
        old, new, dry = step.old, step.new, self._options.dry_run
        dynamic = step.state.custom and not step.state.is_provider
        match step.op:
            case "create" | "create-replacement" if new and dynamic:
                new.outputs = dict(new.inputs)
                if not dry:
                    new.id, new.outputs = self._provider.create(new)
            case "update" if old and new and dynamic:
                new.id = old.id
                new.outputs = dict(new.inputs) if dry else self._provider.update(old, new)
            case "same" if old and new and not new.is_provider:
                new.id, new.outputs = old.id, old.outputs
            case "delete" | "delete-replaced" if old:
                if old.protect and step.op == "delete":
                    raise Failed(_PROTECTED.format(old.urn, "deleted"))
                if dynamic and not dry and not old.retainOnDelete:
                    self._provider.delete(old)
            case "refresh" if old and new:
                step.result = "same"
                if dynamic:
                    new.id, new.inputs, new.outputs = self._provider.read(old)
                    if not new.id:
                        step.result = "delete"
                    elif self._provider.diff(new, old.inputs, old.ignoreChanges).changes == DiffResponse.DIFF_SOME:
                        step.result, step.changes = "update", changed_keys(old.outputs, new.outputs)

    def _record(self, step: Step) -> None:
        """The state's part, for a step that was applied."""
        old, new = step.old, step.new
        if new and step.op in ("create", "create-replacement"):
            new.created = new.modified = now()
        elif new and old and step.op in ("same", "update"):
            new.created, new.modified = old.created, old.modified if step.op == "same" else now()
        if step.op == "create-replacement" and old and not old.pendingReplacement:
            old.delete = True
        elif old and step.op == "delete-replaced" and not old.delete:  # ahead of its replacement
            old.pendingReplacement = True
        elif old and step.op != "replace":
            self._done.add(old)
        if new and step.op != "replace" and step.result != "delete":
            self._news.append(new)
