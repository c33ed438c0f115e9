"""What one update does: from each resource's old and wanted state to steps, and the steps carried out.

The order follows the CLI: a resource is checked and compared when the program registers it, replacements are created
before their originals are deleted unless the resource says otherwise, and what the program no longer has is deleted
last, dependents first.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from pulumi.runtime.proto import provider_pb2

from local.pulumi_engine.checkpoint import PROVIDER_TYPE, STACK_TYPE, PendingOperation, Snapshot, State, deletion_waves
from local.pulumi_engine.checkpoint import now as timestamp
from local.pulumi_engine.display import Display
from local.pulumi_engine.properties import UNKNOWN, Properties, bare, changed_keys
from local.pulumi_engine.provider import DynamicProvider, Failed
from local.pulumi_engine.steps import PENDING, Step


class Stopped(Exception):
    """The update has failed or was interrupted: nothing new begins."""


@dataclass
class Goal:
    """A resource as the program wants it."""

    state: State
    aliases: list[str] = field(default_factory=list)
    delete_before_replace: bool | None = None


@dataclass(frozen=True)
class Options:
    dry_run: bool = False
    parallel: int = 8
    targets: frozenset[str] = frozenset()
    exclude_protected: bool = False


class Deployment:
    def __init__(
        self,
        snapshot: Snapshot,
        provider: DynamicProvider,
        config: Properties,
        display: Display,
        save: Callable[[Snapshot], None],
        options: Options,
    ) -> None:
        self._salt, self._base = snapshot.salt, list(snapshot.resources)
        self._provider, self._config, self._display = provider, config, display
        self._save, self._options = save, options
        self._news: list[State] = []
        self._done: set[State] = set()
        self._seen: set[str] = set()
        self._renamed: dict[str, str] = {}
        self._replaced_outputs: dict[State, Properties] = {}
        # What was being created when an update was killed may exist: that stays on record until a refresh.
        self._pending = [operation for operation in snapshot.pending if operation.type == "creating"]
        self._planning, self._journal = threading.Lock(), threading.Lock()
        self._slots = threading.Semaphore(options.parallel)
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def wait_for_running_steps(self) -> None:
        for _ in range(self._options.parallel):
            self._slots.acquire()
        self._slots.release(self._options.parallel)

    def snapshot(self) -> Snapshot:
        states = self._news + [state for state in self._base if state not in self._done]
        for state in states if self._renamed else []:
            state.change_references(lambda urn: self._renamed.get(urn, urn))
        return Snapshot(states, list(self._pending), self._salt)

    def save(self) -> None:
        if not self._options.dry_run:
            self._save(self.snapshot())

    # Registration

    def register(self, goal: Goal) -> State:
        """Brings one resource to what the program wants. Raises Stopped."""
        with self._planning:
            if self.stopped.is_set():
                raise Stopped
            try:
                steps = self._plan(goal)
            except Failed as error:
                self._display.error(goal.state, str(error))
                self.stop()
                raise Stopped from None
        for step in steps:
            self._carry_out(step)
        return steps[-1].new or goal.state

    def register_outputs(self, urn: str, outputs: Properties) -> None:
        with self._journal:
            state = next(state for state in self._news if state.urn == urn)
            self._replaced_outputs[state], state.outputs = state.outputs, outputs
        self._display.outputs_registered(state)

    def keep_outputs(self) -> None:
        """After a failure: what the stack put out before and did not register again stays."""
        for state, olds in self._replaced_outputs.items():
            state.outputs = {**olds, **state.outputs} if state.type == STACK_TYPE else state.outputs

    def _plan(self, goal: Goal) -> list[Step]:
        new, old = goal.state, self._old(goal)
        if new.urn in self._seen:
            raise Failed(f"Duplicate resource URN '{new.urn}'; try giving it a unique name")
        self._seen.add(new.urn)
        if self._is_left_alone(new.urn, new.type):
            if old is None:
                raise Failed("it does not exist yet and is no target; name it with --target as well")
            return [Step("same", old, replace(old))]
        if not new.custom:
            return [Step("same", old, new) if old else Step("create", None, new)]
        new.provider = self._default_provider()
        if old:
            new.inputs = _ignoring(new.inputs, old.inputs, new.ignoreChanges)
        new.inputs, failures = self._provider.check(new, old.inputs if old else {})
        for key, reason in failures:
            self._display.error(
                new, f"{new.type} resource '{new.name}': property {key} value {{}} has a problem: {reason}"
            )
        if failures:
            self.stop()
            raise Stopped
        if old is None:
            return [Step("create", None, new)]
        changes = changed_keys(old.inputs, new.inputs)
        if old.pendingReplacement:  # deleted ahead, now or by an update that did not get further
            return [Step("replace", old, new, [], changes), Step("create-replacement", old, new, [], changes)]
        diff = self._provider.diff(old, new.inputs, new.ignoreChanges)
        differs = diff.changes == provider_pb2.DiffResponse.DIFF_SOME
        if diff.changes == provider_pb2.DiffResponse.DIFF_UNKNOWN:
            differs = bare(old.inputs) != bare(new.inputs)
        if not differs:
            return [Step("same", old, new, [], {"protect": "update"} if old.protect != new.protect else {})]
        if not diff.replaces:
            return [Step("update", old, new, [], changes)]
        if old.protect and new.protect:
            raise Failed(
                f'unable to replace resource "{new.urn}"\nas it is currently marked for protection. To unprotect the'
                " resource, remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`"
            )
        first = diff.deleteBeforeReplace if goal.delete_before_replace is None else goal.delete_before_replace
        replacing, creating = (
            Step(op, old, new, list(diff.replaces), changes) for op in ("replace", "create-replacement")
        )
        if not first:
            return [creating, replacing]
        ahead = [Step("delete-replaced", state, None, ahead=True) for state in (*self._replaced_with(old), old)]
        return [*ahead, replacing, creating]

    def _old(self, goal: Goal) -> State | None:
        """The resource's state of before, under its URN or an alias."""
        candidates = {state.urn: state for state in self._base if not state.delete and state not in self._done}
        for urn in (goal.state.urn, *goal.aliases):
            if urn in candidates:
                if urn != goal.state.urn:
                    self._renamed[urn] = goal.state.urn
                return candidates[urn]
        return None

    def _is_left_alone(self, urn: str, type_: str) -> bool:
        return bool(self._options.targets) and urn not in self._options.targets and type_ != STACK_TYPE

    def _default_provider(self) -> str:
        """The reference to the one provider of all dynamic resources, which is a resource itself."""
        stack = next(state.urn for state in self._news if state.type == STACK_TYPE)
        urn = f"{stack.rsplit('::', 2)[0]}::{PROVIDER_TYPE}::default"
        if state := next((state for state in self._news if state.urn == urn), None):
            return f"{urn}::{state.id}"
        old = next((state for state in self._base if state.urn == urn), None)
        id_ = old.id if old else UNKNOWN_ID if self._options.dry_run else str(uuid.uuid4())
        new = State(urn, True, PROVIDER_TYPE, id=id_, inputs=self._config, outputs=self._config)
        op = "create" if old is None else "same" if old.inputs == new.inputs else "update"
        self._seen.add(urn)
        self._carry_out(Step(op, old, new))
        return f"{urn}::{id_}"

    def _replaced_with(self, original: State) -> list[State]:
        """What must be replaced when `original` is deleted first, the last dependents first."""
        gone = [original]
        for state in self._base:
            urns = {other.urn for other in gone}
            keys = [key for key, on in state.propertyDependencies.items() if urns & set(on)]
            if not keys or state.delete or state.urn in self._seen:
                continue
            inputs = {**state.inputs, **dict.fromkeys(keys, UNKNOWN)}
            if self._provider.diff(state, inputs, []).replaces:
                gone.append(state)
        return gone[:0:-1]

    # Deletions, refresh

    def delete_what_is_gone(self) -> None:
        """After the program's end. Raises Stopped."""
        steps = {}
        for state in reversed([state for state in self._base if state not in self._done]):
            if self._is_left_alone(state.urn, state.type) and not state.delete:
                continue
            if state.delete:
                steps[state] = Step("delete-replaced", state, None)
            elif state.urn not in self._seen:
                steps[state] = Step("remove-pending-replace" if state.pendingReplacement else "delete", state, None)
        self._delete(steps)

    def destroy(self) -> None:
        """Deletes everything, or what neither is protected nor needed by something protected. Raises Stopped."""
        kept: set[str] = set()
        for state in reversed(self._base):
            protected = state.protect and self._options.exclude_protected
            if protected or state.urn in kept or self._is_left_alone(state.urn, ""):
                kept |= {state.urn, *state.depends_on()}
        for state in [state for state in self._base if state.urn in kept]:
            self._carry_out(Step("same", state, replace(state)))
        gone = [state for state in reversed(self._base) if state.urn not in kept]
        self._delete({state: Step("delete-replaced" if state.delete else "delete", state, None) for state in gone})

    def _delete(self, steps: dict[State, Step]) -> None:
        with ThreadPoolExecutor(self._options.parallel) as pool:
            for wave in deletion_waves(list(steps)):
                running = [pool.submit(self._carry_out, steps[state]) for state in wave]
                errors = [error for future in running if (error := future.exception())]
                if errors:
                    raise errors[0]

    def refresh(self, clear_pending_creates: bool) -> None:
        """Puts what really is into the state. Raises Stopped."""
        if clear_pending_creates:
            self._pending = []
        steps = [Step("refresh", state, replace(state)) for state in self._base]
        with ThreadPoolExecutor(self._options.parallel) as pool:
            futures = [pool.submit(self._carry_out, step) for step in steps]
        errors = [error for future in futures if (error := future.exception())]
        order = {step.new: place for place, step in enumerate(steps)}
        self._news.sort(key=order.__getitem__)  # dependencies come first
        left = {state.urn for state in self.snapshot().resources}
        for state in self._news:
            state.change_references(lambda urn: urn if urn in left else "")
            state.propertyDependencies = {key: urns for key, urns in state.propertyDependencies.items() if urns}
        if errors:
            raise errors[0]

    # Steps

    def _carry_out(self, step: Step) -> None:
        with self._slots:
            if self.stopped.is_set():
                raise Stopped
            self._display.begin(step)
            operation = PendingOperation(step.state, PENDING.get(step.op, ""))
            if operation.type and not self._options.dry_run:
                with self._journal:
                    self._pending.append(operation)
                    self.save()
            try:
                self._apply(step)
            except Failed as error:
                self._display.failed(step, str(error))
                self.stop()
            with self._journal:
                if operation in self._pending:
                    self._pending.remove(operation)
                if step.applied:
                    self._record(step)
                if operation.type:
                    self.save()
            if not step.applied:
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
                    raise Failed(
                        f'resource "{old.urn}" cannot be deleted\nbecause it is protected. To unprotect the resource,'
                        " remove the `protect` flag from the resource in your Pulumi program and run `pulumi up`"
                    )
                if dynamic and not dry and not old.retainOnDelete:
                    self._provider.delete(old)
            case "refresh" if old and new:
                step.result = "same"
                if dynamic:
                    new.id, new.inputs, new.outputs = self._provider.read(old)
                    if not new.id:
                        step.result = "delete"
                    elif self._provider.diff(new, old.inputs, old.ignoreChanges).changes == _SOME:
                        step.result, step.changes = "update", changed_keys(old.outputs, new.outputs)
        step.applied = True

    def _record(self, step: Step) -> None:
        """The state's part, for a step that was applied."""
        old, new = step.old, step.new
        if new and step.op in ("create", "create-replacement"):
            new.created = new.modified = timestamp()
        elif new and old and step.op in ("same", "update"):
            new.created, new.modified = old.created, old.modified if step.op == "same" else timestamp()
        if step.op == "create-replacement" and old and not old.pendingReplacement:
            old.delete = True
        elif old and step.ahead:
            old.pendingReplacement = True
        elif old and step.op != "replace":
            self._done.add(old)
        if new and step.op != "replace" and step.result != "delete":
            self._news.append(new)


_SOME = provider_pb2.DiffResponse.DIFF_SOME
UNKNOWN_ID = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def _ignoring(inputs: Properties, olds: Properties, keys: list[str]) -> Properties:
    """The inputs with what they had before for the ignored keys."""
    kept = {key: value for key, value in inputs.items() if key not in keys}
    return {**kept, **{key: olds[key] for key in keys if key in olds}}
