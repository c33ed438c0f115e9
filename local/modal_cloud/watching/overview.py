"""The cloud at this moment: apps, containers, open calls, volumes, dicts, queues, GPUs, ordered faults. Plain values,
for JSON; no content, no arguments, no values of secrets."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from modal_proto import api_pb2

from local.modal_cloud import clock
from local.modal_cloud.records import FunctionCall, InputState, Task

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

MOST_CALLS = 200
"""Open calls that are told one by one, newest first."""
_SIZES_KEPT = 3.0
"""Seconds for which the size of a volume is not measured again."""


class Overview:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._process = psutil.Process()
        self._sizes: dict[str, tuple[float, int, int]] = {}

    async def now(self) -> dict[str, Any]:
        """Everything. Times are Unix seconds of the cloud's clock, `seconds` are how long something has lasted."""
        volumes = await self._volumes()
        calls = self._calls()
        return {
            "at": clock.now(),
            "ahead": clock.ahead(),
            "process": self._itself(),
            "apps": self.apps(),
            "containers": [self._container(task) for task in self._cloud.tasks.unfinished()],
            "calls": calls[:MOST_CALLS],
            "calls_open": len(calls),
            "volumes": volumes,
            "dicts": self._dicts(),
            "queues": self._queues(),
            "gpus": self._gpus(),
            "faults": self._cloud.faults.listed(),
            "rpcs": dict(self._cloud.interface.trace.statuses),
        }

    def apps(self) -> list[dict[str, Any]]:
        """Those that run: name, version, URLs, containers, inputs that wait or run."""
        cloud = self._cloud
        return [
            {
                "id": app.id,
                "name": app.name or app.description,
                "environment": app.environment,
                "state": api_pb2.AppState.Name(app.state).removeprefix("APP_STATE_").lower().replace("_", " "),
                "version": app.live_version,
                "containers": len(cloud.tasks.of_app(app.id)),
                "queued": sum(cloud.calls.queued(each.id) for each in cloud.functions.with_variants(app.id)),
                "running": sum(cloud.calls.running(each.id) for each in cloud.functions.with_variants(app.id)),
                "urls": cloud.functions.urls(app),
            }
            for app in cloud.apps.running()
        ]

    def _itself(self) -> dict[str, Any]:
        with self._process.oneshot():
            times = self._process.cpu_times()
            return {
                "pid": os.getpid(),
                "seconds": time.time() - self._process.create_time(),
                "cpu_seconds": times.user + times.system,
                "memory_bytes": self._process.memory_info().rss,
            }

    def _container(self, task: Task) -> dict[str, Any]:
        replica = self._cloud.scheduler.replica(task.id)
        phase = "leaving" if replica is None else str(replica.phase)
        if replica is not None and replica.waits_for_gpus:
            phase = "waits for GPUs"
        inputs = len(self._cloud.calls.running_on(task.id)) + (replica.requests if replica is not None else 0)
        gpu = self._cloud.tasks.definition(task.id).gpu(task)
        return {
            "id": task.id,
            "name": self._cloud.tasks.label(task.id),
            "version": task.app_version,
            "phase": phase,
            "seconds": clock.now() - (task.ready_at or task.started_at or task.enqueued_at),
            "inputs": inputs,
            "gpu": f"{gpu.gpu_type}:{gpu.count}" if gpu.count else "",
            "pid": task.pid,
        }

    def _calls(self) -> list[dict[str, Any]]:
        """Those with inputs that have not ended, newest first."""
        ledger = self._cloud.calls.ledger
        open_ids = dict.fromkeys(item.call_id for item in reversed(ledger.unfinished()))
        return [self._call(call) for call in map(ledger.find_call, open_ids) if call is not None]

    def _call(self, call: FunctionCall) -> dict[str, Any]:
        states = Counter(item.state for item in self._cloud.calls.ledger.inputs_of(call))
        app = self._cloud.apps.get(call.app_id)
        return {
            "id": call.id,
            "name": f"{app.name or app.description or app.id}/{self._cloud.functions.get(call.function_id).name}",
            "kind": "map" if call.is_map else str(call.kind),
            "seconds": clock.now() - call.created_at,
            "inputs": len(call.input_ids),
            "done": len(call.output_ids),
            "queued": states[InputState.QUEUED],
            "running": states[InputState.RUNNING],
            "waiting": states[InputState.WAITING],
        }

    async def _volumes(self) -> list[dict[str, Any]]:
        told = []
        for volume in self._cloud.volumes.all():
            measured = self._sizes.get(volume.id)
            if measured is None or time.monotonic() - measured[0] > _SIZES_KEPT:
                files, size = await asyncio.to_thread(_size, self._cloud.folders.volume(volume.id))
                measured = self._sizes[volume.id] = (time.monotonic(), files, size)
            told.append(
                {
                    "id": volume.id,
                    "name": volume.name,
                    "environment": volume.environment,
                    "version": volume.version,
                    "files": measured[1],
                    "bytes": measured[2],
                }
            )
        there = {volume.id for volume in self._cloud.volumes.all()}
        self._sizes = {volume_id: measured for volume_id, measured in self._sizes.items() if volume_id in there}
        return told

    def _dicts(self) -> list[dict[str, Any]]:
        dicts = self._cloud.dicts
        return [
            {"id": each.id, "name": each.name, "environment": each.environment, "entries": dicts.length(each.id)}
            for each in dicts.all()
        ]

    def _queues(self) -> list[dict[str, Any]]:
        queues = self._cloud.queues
        return [
            {
                "id": each.id,
                "name": each.name,
                "environment": each.environment,
                "items": queues.length(each.id, None),
                "partitions": queues.partitions(each.id),
            }
            for each in queues.all()
        ]

    def _gpus(self) -> list[dict[str, Any]]:
        """Types in use, waited for or limited by an ordered fleet; `total` is null where there is no limit."""
        scheduler, faults = self._cloud.scheduler, self._cloud.faults
        used, waiting = scheduler.gpus_in_use(), scheduler.gpus_waited_for()
        return [
            {
                "type": kind,
                "in_use": used.get(kind, 0),
                "total": faults.fleet(kind),
                "waiting": waiting.get(kind, 0),
            }
            for kind in sorted({*used, *waiting, *faults.fleets()})
        ]


def _size(folder: Path) -> tuple[int, int]:
    """Files and bytes below; what goes while it is looked at is left out."""
    files = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
            files += 1
    return files, size
