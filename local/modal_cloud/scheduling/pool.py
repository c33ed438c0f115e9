"""The containers of one function, class or server, kept at the number that its settings and its demand ask for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud import clock
from local.modal_cloud.records import Function
from local.modal_cloud.scheduling.crash_loop import CrashLoop
from local.modal_cloud.scheduling.demand import Scaling, SustainedDemand, scaling_of
from local.modal_cloud.scheduling.replica import Phase, Replica

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_STABLE_AFTER = 10.0
"""Seconds after which a container that was ready counts as a success, even if it dies later."""
_log = logging.getLogger(__name__)


class Pool:
    """Reconciles whenever something happened (`poke`) and when a deadline passes.

    Versions: `current` replicas run the live definition, `outgoing` ones an earlier one. Outgoing ones go on taking
    work until replacements are ready; a version that never gets ready never replaces anything.
    """

    def __init__(self, cloud: Cloud, function_id: str) -> None:
        self._cloud = cloud
        self.function_id = function_id
        self.replicas: dict[str, Replica] = {}
        self._crashes = CrashLoop()
        self._sustained = SustainedDemand()
        self._version: str | None = None
        self._wanted = False
        """A request found no server up."""
        self.next_scale_down = math.inf
        """Cloud time at which the next container has been idle for long enough."""
        self._runs: set[asyncio.Task[None]] = set()
        self._happened = asyncio.Event()
        self._closed = False
        self._reconciler = asyncio.create_task(self._reconcile_for_ever())

    def poke(self) -> None:
        self._happened.set()

    @property
    def settled(self) -> bool:
        """Nothing is about to start or to end, except what waits for its time."""
        passing = (Phase.STARTING, Phase.LEAVING)
        return not self._happened.is_set() and not any(replica.phase in passing for replica in self.replicas.values())

    @property
    def _name(self) -> str:
        function = self._cloud.functions.get(self.function_id)
        app = self._cloud.apps.get(function.app_id)
        return f"{app.name or app.id}/{function.name}"

    # -- requests of servers, told by the ingress

    def acquire(self, session: str = "") -> Replica | None:
        """The ready server container with the fewest requests, now with one more; None when there is none, and then
        one is on its way. Give it back with `release`.

        Requests of one `session` go to the same container as long as that is there and has room (rendezvous hashing:
        another container more or less moves only the sessions that it takes or leaves).
        """
        ready = [replica for replica in self.replicas.values() if replica.takes_work]
        if not ready:
            self._wanted = True
            self.poke()
            return None
        chosen = min(ready, key=lambda replica: (replica.requests, replica.definition_id != self._version))
        if session:
            current = [replica for replica in ready if replica.definition_id == self._version] or ready
            favourite = max(
                current, key=lambda replica: hashlib.sha256(f"{replica.task.id} {session}".encode()).digest()
            )
            if not (limit := favourite.function.max_concurrent_inputs) or favourite.requests < limit:
                chosen = favourite
        chosen.requests += 1
        self.poke()
        return chosen

    def release(self, replica: Replica) -> None:
        replica.requests -= 1
        replica.work_ended.set()
        self.poke()

    # -- ends

    def stop_all(self) -> None:
        for replica in self.replicas.values():
            replica.stop()

    def shut(self, grace: float) -> None:
        """Nothing starts any more, and everything gets so many seconds to end."""
        self._closed = True
        self._reconciler.cancel()
        for replica in self.replicas.values():
            replica.stop(grace)

    async def gone(self) -> None:
        """After `shut`: until the last container is gone."""
        if self._runs:
            await asyncio.wait(self._runs)

    # -- reconciliation

    async def _reconcile_for_ever(self) -> None:
        while True:
            self._happened.clear()
            try:
                pause = self._reconcile()
            except Exception:
                _log.exception("pool of %s", self.function_id)
                pause = 1.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._happened.wait(), None if math.isinf(pause) else max(pause, 0.01))

    def _reconcile(self) -> float:
        """Starts and drains; seconds until something has to be looked at again."""
        function = self._cloud.functions.get(self.function_id)
        if function.live is None or not self._cloud.apps.get(function.app_id).running:
            for replica in self.replicas.values():
                replica.drain()
            return math.inf
        if function.live_definition_id != self._version:
            self._version = function.live_definition_id
            self._crashes = CrashLoop()
        scaling = scaling_of(self._cloud.functions.settings(self.function_id), function.live.function)
        staying = [replica for replica in self.replicas.values() if replica.phase in (Phase.STARTING, Phase.READY)]
        current = [replica for replica in staying if replica.definition_id == self._version]
        outgoing = [replica for replica in staying if replica.definition_id != self._version]
        wanted = self._containers_wanted(scaling, function, current)
        now = asyncio.get_running_loop().time()
        wanted, held = self._sustained.containers_now(wanted, len(current), scaling, now)
        self._watch_idleness()
        self.next_scale_down = math.inf
        pause = self._start_missing(current, max(wanted, 1 if outgoing else 0), bool(outgoing))
        self._replace(current, outgoing, wanted)
        pause = min(pause, held, self._scale_down(current, wanted, scaling))
        if self._crashes.broken:
            # Nothing is about to replace them, so they are scaled like any others; failing ones don't count.
            serving = [replica for replica in outgoing if replica.takes_work]
            pause = min(pause, self._scale_down(serving, wanted, scaling))
        return pause

    def _containers_wanted(self, scaling: Scaling, function: Function, current: list[Replica]) -> int:
        assert function.live is not None
        if function.live.function.is_server:
            demand = sum(replica.requests for replica in self.replicas.values())
            if any(replica.takes_work for replica in current):
                self._wanted = False
            demand = max(demand, int(self._wanted))
        else:
            demand = self._cloud.calls.queued(self.function_id) + self._cloud.calls.running(self.function_id)
        return scaling.containers_for(demand)

    def _start_missing(self, current: list[Replica], wanted: int, others_serve: bool) -> float:
        missing = wanted - len(current)
        if missing <= 0:
            # What still waits for GPUs is not needed any more.
            for replica in [replica for replica in current if replica.waits_for_gpus][:-missing]:
                replica.drain()
            return math.inf
        if self._crashes.broken:
            # One at a time, after a pause that grows: it may have been mended from outside (a secret, a volume).
            pause = self._crashes.pause(asyncio.get_running_loop().time())
            if pause > 0:
                return pause
            missing = 1 if not any(replica.phase is Phase.STARTING for replica in current) else 0
        for _ in range(missing):
            self._start_one()
        return math.inf

    def _start_one(self) -> None:
        task = self._cloud.tasks.create(self.function_id)
        definition = self._cloud.functions.get(self.function_id).definitions[task.definition_id]
        replica = Replica(self._cloud, task, definition, self._replica_changed)
        self.replicas[task.id] = replica
        gpus = ", ".join(f"{count} {kind}" for kind, count in self._cloud.scheduler.gpus_in_use().items())
        self._say("starts", task.id, f" (GPUs in use: {gpus})" if gpus else "")
        run = asyncio.create_task(replica.run())
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    def _say(self, what: str, task_id: str, more: str = "") -> None:
        about = {"app": self._name, "container": task_id, "event": what.removeprefix("is ")}
        _log.info("%s: container %s %s%s", self._name, task_id, what, more, extra={"about": about})

    def _replace(self, current: list[Replica], outgoing: list[Replica], wanted: int) -> None:
        """Each new container that is ready replaces an old one; the first one also those that are too many."""
        for replica in outgoing:
            if replica.phase is Phase.STARTING:
                replica.drain()
        serving = [replica for replica in outgoing if replica.takes_work]
        ready = sum(replica.takes_work for replica in current)
        if ready:
            kept = max(0, wanted - ready)
            for replica in sorted(serving, key=self._busy)[: len(serving) - kept]:
                replica.drain()

    def _scale_down(self, replicas: list[Replica], wanted: int, scaling: Scaling) -> float:
        """Drains what is too much; seconds until the next one has been idle for long enough."""
        now = clock.now()
        if scaling.maximum is not None:
            for replica in sorted(replicas, key=self._busy)[: max(0, len(replicas) - scaling.maximum)]:
                replica.drain()  # the limit was lowered
        # Containers that are still starting don't count: they may never get ready.
        ready = [replica for replica in replicas if replica.takes_work]
        idle = [replica for replica in ready if replica.idle_since is not None]
        left = {replica: (replica.idle_since or 0.0) + scaling.scaledown_window - now for replica in idle}
        newest_first = sorted(idle, key=lambda replica: replica.ready_since or 0.0, reverse=True)
        excess = max(0, len(ready) - wanted)
        for replica in [replica for replica in newest_first if left[replica] <= 0][:excess]:
            replica.drain()
            excess -= 1
        pause = min((seconds for seconds in left.values() if seconds > 0), default=math.inf) if excess else math.inf
        self.next_scale_down = min(self.next_scale_down, now + pause)
        return pause

    def _watch_idleness(self) -> None:
        now = clock.now()
        for replica in self.replicas.values():
            if self._busy(replica)[1]:
                replica.idle_since = None
            elif replica.takes_work and replica.idle_since is None:
                replica.idle_since = now

    def _busy(self, replica: Replica) -> tuple[bool, int]:
        """For sorting: what can go first comes first."""
        running = replica.requests if replica.function.is_server else len(self._cloud.calls.running_on(replica.task.id))
        return replica.takes_work, running

    # -- what happens to replicas

    def _replica_changed(self, replica: Replica) -> None:
        if replica.phase is Phase.READY:
            self._say("is ready", replica.task.id)
        if replica.phase is Phase.GONE:
            self._gone(replica)
        self.poke()

    def input_finished(self, task_id: str) -> None:
        replica = self.replicas.get(task_id)
        if replica is not None:
            replica.work_ended.set()
            if replica.definition_id == self._version:
                self._crashes.succeeded()
        self.poke()

    def _gone(self, replica: Replica) -> None:
        del self.replicas[replica.task.id]
        result = replica.result or api_pb2.GenericResult()
        now = asyncio.get_running_loop().time()
        failed = result.status != api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        self._say("is gone", replica.task.id, f": {result.exception}" if failed else "")
        if failed:
            text = f"container {replica.task.id}: {result.exception}\n"
            self._cloud.logs.append(replica.task.id, api_pb2.FILE_DESCRIPTOR_INFO, text)
        stable = replica.ready_since is not None and now - replica.ready_since >= _STABLE_AFTER
        if replica.definition_id == self._version and not self._closed:
            # One that had inputs is counted against these: they may have been what ended it.
            had_inputs = bool(self._cloud.calls.running_on(replica.task.id))
            if failed and not (stable or replica.dismissed or had_inputs):
                self._crashes.failed(result, now)
            elif stable:
                self._crashes.succeeded()
        self._cloud.tasks.finish(replica.task.id, result)
        if self._crashes.broken and not any(other.takes_work for other in self.replicas.values()):
            self._wanted = False
            self._cloud.calls.fail_queued(self.function_id, self._crashes.verdict())
