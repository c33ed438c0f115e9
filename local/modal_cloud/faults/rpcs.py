"""Faults of RPCs: between the call that arrives and the service that would answer it."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local.modal_cloud.faults.rules import HeartbeatLoss, RpcFault
from local.modal_cloud.rpc import Caller, Dropped

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_KILL_BEFORE = {"FunctionPutOutputs": "output", "VolumeCommit": "commit"}


class RpcFaults:
    """`rpc.Interference`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def before(self, name: str, request: Any, caller: Caller) -> None:
        """Raises what the caller gets instead of an answer, or Dropped; may take its time."""
        if not self._cloud.faults.any:
            return
        if caller.task_id is not None:
            if self._phase(_KILL_BEFORE.get(name), caller.task_id):
                raise Dropped
            if name == "ContainerHeartbeat":
                await self._heartbeat(caller.task_id)
        if volume_id := getattr(request, "volume_id", ""):
            await self._volume(self._cloud.volumes.get(volume_id).name, name, request)
        for rule in self._cloud.faults.of(RpcFault):
            if rule.drop == "answer" or not rule.matches(name, request, caller.task_id is not None) or not rule.hit():
                continue
            await asyncio.sleep(rule.delay)
            if rule.drop:
                raise Dropped
            if rule.status:
                raise _failure(rule, name)

    async def after(self, name: str, request: Any, response: Any, caller: Caller) -> None:
        """The call took effect and its answer is about to go out."""
        if not self._cloud.faults.any:
            return
        if caller.task_id is not None and name == "FunctionGetInputs" and any(i.input_id for i in response.inputs):
            self._phase("input", caller.task_id)
        for rule in self._cloud.faults.of(RpcFault):
            if rule.drop == "answer" and rule.matches(name, request, caller.task_id is not None) and rule.hit():
                await asyncio.sleep(rule.delay)
                raise Dropped

    async def _volume(self, volume: str, name: str, request: Any) -> None:
        for rule in self._cloud.faults.volume(volume):
            if rule.delay and rule.hit():
                await asyncio.sleep(rule.delay)
            if rule.free is not None and name in ("VolumePutFiles", "VolumePutFiles2"):
                size = sum(getattr(file, "size", rule.free + 1) for file in request.files)
                if size > rule.free and rule.hit():
                    # Modal's own words are not known.
                    raise GRPCError(Status.RESOURCE_EXHAUSTED, f"No space left on volume '{volume}'")

    def _phase(self, phase: str | None, task_id: str) -> bool:
        """Whether it has just been killed."""
        replica = self._cloud.scheduler.replica(task_id)
        if phase is None or replica is None:
            return False
        return replica.comes_to(phase)

    async def _heartbeat(self, task_id: str) -> None:
        for rule in self._cloud.faults.of(HeartbeatLoss):
            if fnmatchcase(self._cloud.tasks.label(task_id), rule.container) and rule.hit():
                await asyncio.sleep(rule.seconds)
                self._cloud.scheduler.lost(task_id, rule.seconds)
                await asyncio.sleep(3600)  # its connection ends with the container


def _failure(rule: RpcFault, name: str) -> GRPCError:
    status = Status[rule.status]
    details = None
    if rule.retry_after is not None:
        details = [api_pb2.RPCRetryPolicy(retry_after_secs=rule.retry_after)]
    return GRPCError(status, rule.message or f"{name}: ordered fault {rule.id}", details)
