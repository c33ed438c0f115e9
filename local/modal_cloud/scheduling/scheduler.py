"""The pools of all functions, and what the rest of the cloud tells them (`seams.Scheduler`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from typing import TYPE_CHECKING

import psutil
from modal_proto import api_pb2

from local.modal_cloud.faults.rules import ContainerPreemption, Rule
from local.modal_cloud.records import FunctionDefinition, Task
from local.modal_cloud.scheduling.pool import Pool
from local.modal_cloud.scheduling.replica import OVERDUE_GRACE, Phase, Replica

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_CLOSING_GRACE = 3.0
"""Seconds that containers get when the emulator stops."""
_log = logging.getLogger(__name__)


class Scheduler:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._pools: dict[str, Pool] = {}
        self._started = False

    async def start(self) -> None:
        for task in self._cloud.tasks.unfinished():
            _end_leftover(task)
            killed = api_pb2.GenericResult(
                status=api_pb2.GenericResult.GENERIC_STATUS_TERMINATED, exception="the local cloud was stopped"
            )
            self._cloud.tasks.finish(task.id, killed)
        self._started = True
        for app in self._cloud.apps.running():
            self.app_published(app.id)

    async def close(self) -> None:
        self._started = False
        for pool in self._pools.values():
            pool.shut(_CLOSING_GRACE)
        await asyncio.gather(*(pool.gone() for pool in self._pools.values()))
        self._pools.clear()

    # -- from apps and functions

    def app_published(self, app_id: str) -> None:
        for function in self._cloud.functions.with_variants(app_id):
            self._pool(function.id)
        for pool in self._of_app(app_id):
            pool.poke()

    def app_stopped(self, app_id: str) -> None:
        for pool in self._of_app(app_id):
            pool.stop_all()

    def settings_changed(self, function_id: str) -> None:
        self._poke(function_id)

    # -- from the clock

    def clock_moved(self) -> None:
        for pool in self._pools.values():
            pool.poke()

    def next_scale_down(self) -> float:
        """Cloud time at which the next idle container goes; infinity where none does."""
        return min((pool.next_scale_down for pool in self._pools.values()), default=math.inf)

    def settled(self) -> bool:
        return all(pool.settled for pool in self._pools.values())

    # -- from calls

    def inputs_queued(self, function_id: str) -> None:
        self._poke(function_id)

    def input_finished(self, task_id: str, input_id: str) -> None:
        found = self._find(task_id)
        if found is not None:
            found[0].input_finished(task_id)

    def input_overdue(self, task_id: str, input_id: str) -> None:
        found = self._find(task_id)
        if found is not None:
            found[1].stop(OVERDUE_GRACE)

    # -- from the container's own RPCs

    def container_ready(self, task_id: str) -> None:
        found = self._find(task_id)
        if found is not None:
            found[1].ready()

    def server_entered(self, task_id: str) -> None:
        found = self._find(task_id)
        if found is not None:
            found[1].server_entered()

    def task_result(self, task_id: str, result: api_pb2.GenericResult) -> None:
        found = self._find(task_id)
        if found is not None:
            found[1].reported = result

    def heartbeat(self, task_id: str) -> None:
        """Death is seen at once (pidfd), so heartbeats tell nothing new here."""

    def lost(self, task_id: str, seconds: float) -> None:
        """No heartbeat came for so long: the container is given up and its inputs go to another."""
        found = self._find(task_id)
        if found is not None:
            found[1].give_up(f"no heartbeat for {seconds:g} s")

    # -- from anyone

    def fault_ordered(self, rule: Rule | None) -> None:
        """Or (None) some were taken back: what keeps containers from starting may have gone."""
        for pool in self._pools.values():
            if isinstance(rule, ContainerPreemption):
                for replica in list(pool.replicas.values()):
                    replica.preempt_now(rule)
            pool.poke()

    def stop_task(self, task_id: str, graceful: bool) -> None:
        found = self._find(task_id)
        if found is None:
            return
        if graceful:
            found[1].drain()
        else:
            found[1].stop()

    # -- for the ingress

    def pool(self, function_id: str) -> Pool:
        """KeyError for functions that are not live."""
        return self._pools[function_id]

    def gpus_in_use(self) -> dict[str, int]:
        """GPU type → number reserved by containers that exist, whatever they do."""
        used: Counter[str] = Counter()
        for pool in self._pools.values():
            for replica in pool.replicas.values():
                if replica.gpu.count and replica.phase is not Phase.GONE and not replica.waits_for_gpus:
                    used[replica.gpu.gpu_type] += replica.gpu.count
        return dict(used)

    def gpus_waited_for(self) -> dict[str, int]:
        """GPU type → containers that wait for some."""
        replicas = [replica for pool in self._pools.values() for replica in pool.replicas.values()]
        return dict(Counter(replica.gpu.gpu_type for replica in replicas if replica.waits_for_gpus))

    def replica(self, task_id: str) -> Replica | None:
        """Of a container that has not ended."""
        found = self._find(task_id)
        return None if found is None else found[1]

    def free_gpus(self, definition: FunctionDefinition, but: Replica) -> int | None:
        """The most wanted of the function's GPU choices that the fleet has room for (other containers than `but`
        counted); None where all are used up. Without an ordered fleet there is room for everything."""
        used = Counter(self.gpus_in_use())
        if but.gpu.count and not but.waits_for_gpus:
            used[but.gpu.gpu_type] -= but.gpu.count
        choices = [choice.function.resources.gpu_config for choice in definition.data.ranked_functions]
        taken = self._cloud.folders.gpus_taken()
        for rank in sorted(range(len(choices)), key=lambda rank: choices[rank].gpu_type in taken):
            gpu = choices[rank]
            total = self._cloud.faults.fleet(gpu.gpu_type) if gpu.count else None
            if total is None or used[gpu.gpu_type] + gpu.count <= total:
                return rank
        return None

    def _pool(self, function_id: str) -> Pool:
        if function_id not in self._pools:
            self._pools[function_id] = Pool(self._cloud, function_id)
        return self._pools[function_id]

    def _poke(self, function_id: str) -> None:
        if self._started:
            self._pool(function_id).poke()

    def _of_app(self, app_id: str) -> list[Pool]:
        return [
            pool for function_id, pool in self._pools.items() if self._cloud.functions.get(function_id).app_id == app_id
        ]

    def _find(self, task_id: str) -> tuple[Pool, Replica] | None:
        for pool in self._pools.values():
            if task_id in pool.replicas:
                return pool, pool.replicas[task_id]
        return None


def _end_leftover(task: Task) -> None:
    """A container ends with its emulator; this is for the one in a thousand that is slow about it."""
    if task.pid is None or task.process_started_at is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(task.pid)
        if abs(process.create_time() - task.process_started_at) < 1:
            process.kill()
            process.wait(5)
