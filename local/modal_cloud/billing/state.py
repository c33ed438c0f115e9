from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from local.modal_cloud.billing import prices
from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.records import App, Task

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

Costs = dict[str, Decimal]
"""USD by what was used: `CPU`, `Memory`, or a type of GPU."""


@dataclass
class Usage:
    """Of one app in one interval."""

    app: App
    start: int
    """Unix seconds."""
    costs: Costs = field(default_factory=lambda: defaultdict(Decimal))

    @property
    def total(self) -> Decimal:
        return sum(self.costs.values(), Decimal())


class Billing:
    """What is asked for counts, or the least that Modal gives; what a container really used is not looked at."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def in_intervals(self, start: float, end: float, interval: int) -> list[Usage]:
        """By app and interval of so many seconds, aligned to the epoch: from the one that holds `start` on to the last
        that is over at `end`. Only what has cost something."""
        found: dict[tuple[int, str], Usage] = {}
        bucket = int(start) // interval * interval
        for edge in range(bucket, int(end) // interval * interval, interval):
            for usage in self.between(edge, edge + interval):
                found[edge, usage.app.id] = usage
        return [usage for _, usage in sorted(found.items())]

    def between(self, start: float, end: float) -> list[Usage]:
        """By app, to the second."""
        found: dict[str, Usage] = {}
        for task in self._cloud.tasks.all():
            seconds = min(task.finished_at or now(), end) - max(task.started_at or end, start)
            if seconds <= 0:
                continue
            usage = found.setdefault(task.app_id, Usage(self._cloud.apps.get(task.app_id), int(start)))
            for resource, price in self._per_second(task).items():
                usage.costs[resource] += price * Decimal(repr(seconds))
        return list(found.values())

    def _per_second(self, task: Task) -> Costs:
        try:
            definition = self._cloud.tasks.definition(task.id)
        except NotFound:
            return {}  # A deploy that failed, long ago: nothing ever ran of it.
        function = definition.function
        resources, placement = function.resources, function.scheduler_placement
        factor = prices.multiplier(list(placement.regions), placement.nonpreemptible)
        cores = Decimal(max(resources.milli_cpu, prices.LEAST_MILLI_CPU)) / 1000
        memory = Decimal(max(resources.memory_mb, prices.LEAST_MEMORY_MIB)) / 1024
        costs = {
            "CPU": factor * cores * prices.CPU_CORE_SECOND,
            "Memory": factor * memory * prices.MEMORY_GIB_SECOND,
        }
        gpu = definition.gpu(task)
        if gpu.count:
            kind = gpu.gpu_type.upper().rstrip("!")
            costs[kind] = factor * gpu.count * prices.GPU_SECOND.get(kind, Decimal())
        return costs
