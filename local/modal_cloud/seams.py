"""Who does what between the control plane and the part that runs containers, as typed contracts.

The control plane (this folder) owns records, RPC handlers, calls and their queue, what a container is made of
(`ContainerSpec`), logs, committed volume content. It never starts a process.

Three packages plug in, each exporting one class built as `X(cloud)`:

    containers.Runtime     a ContainerSpec becomes an isolated process; volume views inside it
    scheduling.Scheduler   decides when containers start and stop (pools, autoscaler; nothing fires schedules yet)
    ingress.Ingress        HTTP in front of web endpoints and servers

`cloud.Cloud` constructs them as `cloud.runtime`, `cloud.scheduler`, `cloud.ingress`, then awaits `start()` of each in
this order, and `close()` in the reverse one. Everything runs on one asyncio loop; a method that is not `async` returns
at once and may not block (hand files and processes to threads).

Life of a container: the Scheduler decides → `cloud.tasks.create(function_id)` → `cloud.tasks.spec(task)` →
`cloud.runtime.start(spec)` → `cloud.tasks.started(task_id, pid)` → the container speaks gRPC on its own unix socket,
whose handlers (`cloud.handlers(task_id)`) know the task → … → the Scheduler awaits `Container.wait()` →
`cloud.tasks.finish(task_id, result)`, which also requeues or fails what was running there (`calls.task_ended`).

After `kill -9` of the emulator: `cloud.tasks.unfinished()` at `Scheduler.start()` lists the tasks of the former life
with pid and process start time; the Scheduler ends those processes and finishes the tasks before anything new starts.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modal_proto import api_pb2

if TYPE_CHECKING:
    from local.modal_cloud.records import Function, Input, Task
    from local.modal_cloud.scheduling.replica import Replica


@dataclass(frozen=True)
class SourceFile:
    """One file of a mount or of an image's build context, shown read-only in the container."""

    host: Path
    path: str
    """Absolute path in the container, such as `/root/serving/recipe.py`."""
    mode: int = 0o644


@dataclass(frozen=True)
class VolumeMount:
    volume_id: str
    path: str
    read_only: bool = False
    sub_path: str = ""
    """Folder of the volume that is mounted; empty for all of it."""
    background_commits: bool = True


@dataclass(frozen=True)
class ContainerSpec:
    """All that a container is made of. `Runtime.start` adds what depends on where it puts things."""

    task_id: str
    function_id: str
    arguments: bytes
    """Serialized api_pb2.ContainerArguments; the runtime writes the file and sets MODAL_CONTAINER_ARGUMENTS_PATH."""
    environment: Mapping[str, str] = field(repr=False)
    """Complete (MODAL_IS_REMOTE, MODAL_TASK_ID, image ENV, secrets, HF_ENDPOINT, LOCAL_IMAGE_TAG, PATH …) but for
    MODAL_SERVER_URL and MODAL_CONTAINER_ARGUMENTS_PATH, which the runtime sets, and PYTHONPATH, which it joins from
    `python_path`. Holds secrets: never log it, never put it into argv."""
    files: Sequence[SourceFile] = ()
    volumes: Sequence[VolumeMount] = ()
    python_path: Sequence[str] = ()
    """In order: container paths (`/root`) and host folders that the image's tag brings along (visible inside as on
    the host)."""
    bin_path: Sequence[str] = ()
    """Host folders put in front of PATH: commands that the image's tag brings along, `python` and `python3`."""
    data_path: Sequence[str] = ()
    """Host folders that only have to be visible inside: what the image's tag brings along reads files there."""
    workdir: str = "/root"
    memory_limit: int = 0
    """Bytes that its processes may have in memory before it is killed; 0 for no limit."""
    host_ports: Sequence[int] = ()
    """Loopback TCP ports of the host that must be reachable inside under the same 127.0.0.1:PORT (blob HTTP, hub)."""


class OpenFiles(Exception):
    """`VolumeViews.reload`: the container holds files of the volume open. The handler answers FAILED_PRECONDITION
    with "there are open files preventing the operation"."""


class Container(Protocol):
    """A started container."""

    task_id: str
    pid: int
    """Host pid of the container's first process."""

    @property
    def out_of_memory(self) -> int:
        """Bytes that it had in memory when it was killed for having more than its limit; 0 otherwise."""

    async def wait(self) -> int:
        """Return code once the first process has ended (negative: signal); everything it left behind is then ended
        too, its writes to volumes with background commits are committed, mounts and sockets are gone, and the last
        log line has been handed over."""

    def send_signal(self, number: signal.Signals) -> None:
        """To the entrypoint process alone (SIGINT ends a busy function, SIGTERM a server); no-op once ended."""

    def kill(self) -> None:
        """SIGKILL to every process of the container; no-op once ended."""

    async def connect(self, port: int) -> socket.socket:
        """A non-blocking connection to 127.0.0.1:port inside. Raises OSError, ConnectionRefusedError while nobody
        listens there."""


class VolumeViews(Protocol):
    """Each container sees its own view: the committed version as of its start (or its last reload) below, its own
    writes above. Committed content is the plain folder `cloud.folders.volume(volume_id)`, one file replaced at a time
    by rename; SDK uploads and removals write there as well."""

    async def commit(self, task_id: str, volume_id: str) -> None:
        """Puts the container's writes and removals into the committed folder. Last write wins, file by file. Others'
        commits show afterwards, unless the container holds files of the volume open: answer skip_reload."""

    async def reload(self, task_id: str, volume_id: str) -> None:
        """Shows the latest committed content in the container (its own writes are committed first).
        Raises OpenFiles."""


class Runtime(Protocol):
    @property
    def views(self) -> VolumeViews: ...

    async def start(self) -> None:
        """Prepares $LOCAL_DIR/containers; removes what a killed emulator left there (sockets, folders; processes and
        mounts ended with it). Raises probe.CannotIsolate with a message for the user."""

    async def launch(self, spec: ContainerSpec) -> Container:
        """Starts `modal._container_entrypoint` (by `local/load.py`) isolated, with its own gRPC socket served by
        `cloud.handlers(spec.task_id)`. Hands each chunk of output to `cloud.logs.append`. Raises OSError."""

    async def close(self) -> None:
        """Kills what still runs and unmounts everything."""


class Scheduler(Protocol):
    """Pools of containers, one per function. The handlers tell it what happened; it answers by starting, draining and
    stopping containers."""

    async def start(self) -> None:
        """Ends leftovers, then (re)creates the pools of the live versions of all running apps
        (`cloud.apps.running()`)."""

    async def close(self) -> None:
        """Stops all containers within seconds and finishes their tasks; queued inputs stay queued."""

    # -- from apps and functions
    def app_published(self, app_id: str) -> None:
        """A version went live (publish, rollback, rollover, ephemeral run): each of its functions has a new
        `live_definition_id` or none (no longer part of the app). Rolling: containers of older versions keep serving
        until one of the new version is ready, then drain. `app.live_version` tells old from new tasks."""

    def app_stopped(self, app_id: str) -> None:
        """All containers of the app end; queued inputs have been failed already."""

    def settings_changed(self, function_id: str) -> None:
        """`cloud.functions.settings(function_id)` differs from before (autoscaler update)."""

    # -- from the clock
    def clock_moved(self) -> None:
        """Time has passed at once: idle containers may be due."""

    def next_scale_down(self) -> float:
        """Cloud time at which the next idle container goes; infinity where none does."""

    def settled(self) -> bool:
        """No container starts or ends."""

    # -- from calls
    def inputs_queued(self, function_id: str) -> None:
        """`cloud.calls.queued(function_id)` is another number than before."""

    def input_finished(self, task_id: str, input_id: str) -> None:
        """The container has put the output (or the input was cancelled): it has one more free slot."""

    def input_overdue(self, task_id: str, input_id: str) -> None:
        """The input exceeded its time-out and has its TIMEOUT result: end the container (SIGINT, then SIGKILL)."""

    # -- from the container's own RPCs
    def container_ready(self, task_id: str) -> None:
        """Function container: it came through imports and @enter and asks for its first input."""

    def server_entered(self, task_id: str) -> None:
        """ContainerServerLifecycleReady: @enter is over; the server counts as ready once its port answers."""

    def task_result(self, task_id: str, result: api_pb2.GenericResult) -> None:
        """TaskResult: the entrypoint reports its end; FAILURE with a pickled exception for import and @enter errors
        (process return code 0!)."""

    def heartbeat(self, task_id: str) -> None:
        """Function containers only, about every 15 s."""

    # -- from anyone
    def stop_task(self, task_id: str, graceful: bool) -> None:
        """ContainerStop by a client or by the container itself: graceful drains (kill switch, SIGTERM for servers),
        otherwise SIGINT/SIGTERM at once. Unknown or ended tasks: no-op."""

    # -- from the ingress
    def pool(self, function_id: str) -> ServerPool:
        """Of a live server. Raises KeyError."""


class ServerPool(Protocol):
    """The containers of one server, as the ingress uses them."""

    def acquire(self, session: str = "") -> Replica | None:
        """A ready container, counted as having one more request; None when there is none, and then one is started.
        `release` it."""

    def release(self, replica: Replica) -> None: ...


class Ingress(Protocol):
    async def start(self) -> None:
        """Listens on the port of every Endpoint record whose app runs."""

    async def close(self) -> None: ...

    def url_for(self, app_id: str, function_name: str, method: str = "") -> str:
        """`http://127.0.0.1:PORT` of a web endpoint or server; the same for the same environment, app name, function
        and method for ever (Endpoint record, saved before it is returned). Called at precreate, before the function has
        a definition: which function answers is looked up at each request."""

    def app_published(self, app_id: str) -> None:
        """Endpoints of the live version answer from now on, those of functions that left the app don't."""

    def app_stopped(self, app_id: str) -> None:
        """Its endpoints stop listening or answer 404."""


class WebStream(Protocol):
    """One HTTP request travelling through a function container (`calls.open_web`)."""

    call_id: str
    input_id: str

    def send(self, event: api_pb2.Asgi) -> None:
        """Appends an event for the container (`http_request`, `http_disconnect`)."""

    def receive(self) -> AsyncIterator[api_pb2.Asgi]:
        """Events of the container in order; ends after its output was put or it died."""

    @property
    def result(self) -> api_pb2.GenericResult | None:
        """Set once the input is over: SUCCESS, FAILURE, TERMINATED (container died after output had begun), TIMEOUT."""

    def abandon(self) -> None:
        """The client went away: queued inputs are dropped, running ones get `http_disconnect`."""


class Calls(Protocol):
    """`cloud.calls`: provided by the control plane."""

    def queued(self, function_id: str) -> int:
        """Inputs that wait for a container."""

    def running(self, function_id: str) -> int: ...

    def running_on(self, task_id: str) -> list[Input]: ...

    def drain(self, task_id: str) -> None:
        """The task takes no more inputs: its FunctionGetInputs answers the kill switch, at once if it waits. The
        container then ends by itself once its running inputs are done."""

    def open_web(self, function_id: str, method: str, scope: Mapping[str, object]) -> WebStream:
        """Queues an ASGI request. `scope` as in the ASGI specification (bytes for headers and query string)."""

    def fail_queued(self, function_id: str, result: api_pb2.GenericResult) -> int:
        """Ends all queued inputs with this result (crash loop); returns how many."""


class Tasks(Protocol):
    """`cloud.tasks`: provided by the control plane."""

    def create(self, function_id: str) -> Task:
        """A new task of the function's live definition, saved. Raises KeyError for a function without one."""

    def spec(self, task: Task) -> ContainerSpec: ...

    def started(self, task_id: str, pid: int) -> None: ...

    def ready(self, task_id: str) -> None: ...

    def finish(self, task_id: str, result: api_pb2.GenericResult) -> None:
        """The container is gone. Inputs that ran there are requeued (the container died: not a try of its own on
        Modal either), or failed after 3 containers died under them."""

    def get(self, task_id: str) -> Task: ...

    def of_function(self, function_id: str) -> list[Task]:
        """Unfinished tasks of the function, oldest first."""

    def unfinished(self) -> list[Task]: ...


class Functions(Protocol):
    """`cloud.functions`: provided by the control plane."""

    def get(self, function_id: str) -> Function: ...

    def of_app(self, app_id: str) -> list[Function]:
        """Functions of the live version."""

    def settings(self, function_id: str) -> api_pb2.AutoscalerSettings:
        """Effective: the live definition's, with overrides merged over it; unset fields mean Modal's defaults."""


class Logs(Protocol):
    """`cloud.logs`: provided by the control plane."""

    def append(self, task_id: str, descriptor: int, text: str) -> None:
        """A piece of output with its line end; `descriptor` is api_pb2.FileDescriptor (STDOUT, STDERR, INFO for the
        emulator's own remarks about the container)."""
