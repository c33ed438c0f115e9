"""One container of a pool: from the decision to start it to the last process gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from modal_proto import api_pb2

from local.modal_cloud.containers.runtime import RunningContainer
from local.modal_cloud.errors import Refused
from local.modal_cloud.faults.rules import ContainerPreemption
from local.modal_cloud.records import FunctionDefinition, Task

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

EXIT_GRACE = 30.0
"""Seconds for @exit hooks, as on Modal."""
OVERDUE_GRACE = 5.0
"""Seconds between SIGINT and SIGKILL for a container whose input exceeded its time-out."""
_PROBE_INTERVAL = 0.02
_GPU_INTERVAL = 0.1
_log = logging.getLogger(__name__)


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    """Takes no new work."""
    GONE = "gone"


class Replica:
    """Create it with its task; `run()` it as a task of its own."""

    def __init__(
        self, cloud: Cloud, task: Task, definition: FunctionDefinition, changed: Callable[[Replica], None]
    ) -> None:
        self._cloud = cloud
        self._changed = changed
        self.task = task
        self.function = definition.function
        self.gpu = definition.gpu(task)
        self.phase = Phase.STARTING
        self.waits_for_gpus = False
        """It has none yet: all of the fleet's are in use."""
        self.was_ready = False
        self.idle_since: float | None = None
        """Cloud time; kept by the pool."""
        self.ready_since: float | None = None
        """Loop time."""
        self.requests = 0
        """HTTP requests under way (servers)."""
        self.result: api_pb2.GenericResult | None = None
        """How it ended; set when GONE."""
        self.reported: api_pb2.GenericResult | None = None
        """What the container itself said (TaskResult)."""
        self.dismissed = False
        """We ended it for reasons of our own: however it goes, it isn't a failure of the app."""
        self.work_ended = asyncio.Event()
        """Set by the pool whenever an input or request is over."""
        self._complaint = ""
        """Why the emulator ended it."""
        self._container: RunningContainer | None = None
        self._stopper: asyncio.Task[None] | None = None
        self._helpers: set[asyncio.Task[None]] = set()

    @property
    def definition_id(self) -> str:
        return self.task.definition_id

    @property
    def takes_work(self) -> bool:
        return self.phase is Phase.READY and not self.ended

    @property
    def ended(self) -> bool:
        """Its process is gone, or never was."""
        return self._container is None or self._container.ended

    async def run(self) -> None:
        """The whole life. Ends with the phase GONE and `result` set; doesn't raise."""
        try:
            returncode = await self._live()
            self.result = self._verdict(returncode)
        except (OSError, ValueError, Refused) as error:
            self.result = _failure(f"the container could not be started: {getattr(error, 'message', None) or error}")
        except Exception as error:
            _log.exception("container %s", self.task.id)
            self.result = _failure(f"the container could not be started: {error!r}")
        finally:
            self.phase = Phase.GONE
            for helper in self._helpers:
                helper.cancel()
        self._changed(self)

    async def _live(self) -> int:
        await self._wait_for_gpus()
        if self.phase is Phase.LEAVING:
            return 0
        spec = self._cloud.tasks.spec(self.task)
        container = await self._cloud.runtime.launch(spec)
        self._container = container
        self._cloud.tasks.started(self.task.id, container.pid)
        if self.phase is Phase.LEAVING:
            container.kill()
        self.comes_to("start")
        self._help(self._enforce_startup_timeout())
        return await container.wait()

    async def _wait_for_gpus(self) -> None:
        """Returns once there are some, or the container is not wanted any more."""
        definition = self._cloud.tasks.definition(self.task.id)
        while self.phase is Phase.STARTING and (rank := self._cloud.scheduler.free_gpus(definition, self)) is None:
            if not self.waits_for_gpus:
                self.waits_for_gpus = True
                name, kind = self._cloud.tasks.label(self.task.id).partition("/")[2], self.gpu.gpu_type
                # The words are Modal's (modal-labs/modal-client issue 4129).
                text = f"Function `{name}` ({self.task.function_id}) is waiting to be scheduled on a GPU_{kind} worker."
                _log.info("%s", text)
                self._cloud.logs.append(self.task.id, api_pb2.FILE_DESCRIPTOR_INFO, f"{text}\n")
            await asyncio.sleep(_GPU_INTERVAL)
        if self.phase is Phase.STARTING:
            self.waits_for_gpus = False
            if rank != self.task.gpu_rank:
                self._cloud.tasks.given(self.task.id, rank or 0)
                self.gpu = definition.gpu(self.task)

    # -- faults

    def comes_to(self, phase: str) -> bool:
        """One of `faults.rules.PHASES`: what was ordered for it happens. Whether its process is gone then."""
        if self._container is None:
            return False
        label = self._cloud.tasks.label(self.task.id)
        self._cloud.faults.kills(phase, label, self._container.kill)
        if self._preemptible:
            self._cloud.faults.preempts(phase, label, self._preempt)
        return self._container.ended

    def preempt_now(self, rule: ContainerPreemption) -> None:
        """The fault has just been ordered: it happens to containers that are ready."""
        label = self._cloud.tasks.label(self.task.id)
        if rule.at == "now" and not rule.spent and self.takes_work and rule.matches("ready", label):
            if self._preemptible:
                self._cloud.faults.preempt_by(rule, label, self._preempt)
            else:
                _log.info("%s is nonpreemptible: fault %d does not happen to it", label, rule.id)

    @property
    def _preemptible(self) -> bool:
        return not self.function.scheduler_placement.nonpreemptible

    def _preempt(self, grace: float) -> None:
        if self.ended or self.phase is Phase.LEAVING:
            return  # a delay has passed since: it ends already, with a grace of its own
        # Modal's own words are not known.
        text = f"container {self.task.id} is preempted: interrupted now, killed in {grace:g} s unless it has ended"
        self._cloud.logs.append(self.task.id, api_pb2.FILE_DESCRIPTOR_INFO, f"{text}\n")
        self._cloud.calls.stopping(self.task.id)
        self.stop(grace)

    # -- getting ready

    def server_entered(self) -> None:
        """@enter is over; what is missing is a port that answers."""
        self._help(self._probe())

    def ready(self) -> None:
        if self.phase is not Phase.STARTING:
            return
        self.phase = Phase.READY
        self.was_ready = True
        self.ready_since = asyncio.get_running_loop().time()
        self._cloud.tasks.ready(self.task.id)
        self._changed(self)
        self.comes_to("ready")

    async def connect(self) -> socket.socket:
        """To the server's port. Raises OSError."""
        if self._container is None:
            raise ConnectionRefusedError(f"container {self.task.id} doesn't run")
        return await self._container.connect(self.function.http_config.port)

    async def _probe(self) -> None:
        while self.phase is Phase.STARTING:
            with contextlib.suppress(OSError):
                (await self.connect()).close()
                self.ready()
                return
            await asyncio.sleep(_PROBE_INTERVAL)

    async def _enforce_startup_timeout(self) -> None:
        function = self.function
        seconds = function.http_config.startup_timeout if function.is_server else function.startup_timeout_secs
        seconds = seconds or function.timeout_secs or 300
        await asyncio.sleep(seconds)
        if self.phase is Phase.STARTING:
            what = f"its port {function.http_config.port} to answer" if function.is_server else "it to get ready"
            self._complaint = f"start-up took longer than {seconds} s (waited for {what})"
            self._end(grace=2.0)

    # -- ending

    def drain(self) -> None:
        """No new work; it ends when what runs there is over."""
        if self.phase is Phase.STARTING:
            self.stop(grace=1.0)
        elif self.phase is Phase.READY:
            self.dismissed = True
            self.phase = Phase.LEAVING
            self._stopper = asyncio.create_task(self._drain())

    def stop(self, grace: float = EXIT_GRACE) -> None:
        """Ends it now, with so many seconds for its @exit hooks."""
        if self.phase is not Phase.LEAVING:
            self.dismissed = True
        self._end(grace)

    def give_up(self, why: str) -> None:
        """It is dead to us: killed, and counted as a failure."""
        self._complaint = why
        if self._container is not None:
            self._container.kill()

    def _end(self, grace: float) -> None:
        if self.phase is Phase.GONE:
            return
        self.phase = Phase.LEAVING
        if self._stopper is not None:
            self._stopper.cancel()
        self._stopper = asyncio.create_task(self._stop(grace))

    async def _drain(self) -> None:
        if self.function.is_server:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.function.http_config.exit_grace_period):
                    await self._until(lambda: not self.requests)
        else:
            self._cloud.calls.drain(self.task.id)
            await self._until(lambda: not self._cloud.calls.running_on(self.task.id))
            # The kill switch lets the process run its @exit hooks and end by itself.
            await asyncio.sleep(EXIT_GRACE)
        await self._stop(EXIT_GRACE)

    async def _until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.work_ended.clear()
            await self.work_ended.wait()

    async def _stop(self, grace: float) -> None:
        if self._container is None:
            return  # `_live` kills it as soon as there is something to kill
        self.comes_to("stop")
        self._container.send_signal(signal.SIGTERM if self.function.is_server else signal.SIGINT)
        await asyncio.sleep(grace)
        self._complaint = self._complaint or f"killed: it had not ended {grace:g} s after it was told to"
        self._container.kill()

    def _verdict(self, returncode: int) -> api_pb2.GenericResult:
        if self._container is not None and self._container.out_of_memory:
            mib = self.function.resources.memory_mb_max
            return api_pb2.GenericResult(
                status=api_pb2.GenericResult.GENERIC_STATUS_KERNEL_OOM_KILL,
                exception=f"it ran out of memory: it had {self._container.out_of_memory / (1 << 20):.0f} MiB,"
                f" its limit is {mib} MiB, and it was killed",
                exitcode=128 + signal.SIGKILL,
            )
        if self.dismissed and self._complaint:
            status = api_pb2.GenericResult.GENERIC_STATUS_TERMINATED
            return api_pb2.GenericResult(status=status, exception=self._complaint, exitcode=returncode)
        if self._complaint:
            return _failure(self._complaint, returncode)
        reported = self.reported
        if reported is not None and reported.status != api_pb2.GenericResult.GENERIC_STATUS_SUCCESS:
            return reported
        if self.phase is Phase.LEAVING or (returncode == 0 and self.was_ready):
            return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, exitcode=returncode)
        how = f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit status {returncode}"
        when = "" if self.was_ready else " before it was ready"
        return _failure(f"the container ended{when}: {how}", returncode)

    def _help(self, work: Coroutine[Any, Any, None]) -> None:
        helper = asyncio.create_task(work)
        self._helpers.add(helper)
        helper.add_done_callback(self._helpers.discard)


def _failure(reason: str, exitcode: int = 0) -> api_pb2.GenericResult:
    return api_pb2.GenericResult(
        status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE, exception=reason, exitcode=exitcode
    )
