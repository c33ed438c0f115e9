"""Turns container specifications into running containers (`seams.Runtime`)."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grpclib.config import Configuration
from grpclib.server import Server

from local.modal_cloud import clock
from local.modal_cloud.containers import memory, probe, rootfs, sockets
from local.modal_cloud.containers.inside.layout import RUNTIME, Layout
from local.modal_cloud.containers.process import ContainerProcess
from local.modal_cloud.containers.volume_layers import delete_tree
from local.modal_cloud.containers.volume_views import VolumeViews
from local.modal_cloud.seams import ContainerSpec
from local.modal_cloud.status_details import StatusDetails

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

USER_NAMESPACE = "LOCAL_CLOUD_USER_NAMESPACE"
"""Environment variable: "1" makes root take its rights from a user namespace too, as everybody else does."""
BACKGROUND_COMMIT_INTERVAL = 5.0
"""Seconds."""
_WINDOW = 64 << 20
"""HTTP/2 flow control window in bytes: large inputs and outputs in one go."""
_LOAD = Path(__file__).parents[2] / "load.py"
_CAP_SYS_ADMIN = 21
_MANY_FILES = 65536
_log = logging.getLogger(__name__)


class RunningContainer:
    """`seams.Container`, and what the ingress needs of it."""

    def __init__(self, spec: ContainerSpec, process: ContainerProcess, end: asyncio.Task[int]) -> None:
        self.task_id = spec.task_id
        self.pid = process.pid
        self.memory_limit = spec.memory_limit
        self.out_of_memory = 0
        self._process = process
        self._end = end

    @property
    def ended(self) -> bool:
        """True at once when the process dies; `wait` returns when everything has been tidied up, too."""
        return self._process.ended

    async def wait(self) -> int:
        return await asyncio.shield(self._end)

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()

    def kill_for_memory(self, used: int) -> None:
        """It has so many bytes in memory, more than it may."""
        if not self.ended:
            self.out_of_memory = used
            self.kill()

    async def connect(self, port: int) -> socket.socket:
        """A non-blocking connection to 127.0.0.1:port in the container. Raises OSError, ConnectionRefusedError while
        nobody listens there."""
        return await self._process.connect(port)


class Runtime:
    """Containers of one cloud; their files lie in `cloud.folders.containers/<task id>`."""

    program: Sequence[str] = (sys.executable, f"{RUNTIME}/{_LOAD.name}", "modal._container_entrypoint")

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.views = VolumeViews(cloud.folders.volume)
        self._running: dict[str, RunningContainer] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._user_namespace = needs_user_namespace()
        self._interpreter = rootfs.interpreter_paths()
        self._masked = rootfs.editable_installs()

    async def start(self) -> None:
        """Removes what a killed emulator left. Its processes are gone: a container ends with its emulator, and with
        the last process of a mount namespace go the mounts. Raises CannotIsolate."""
        folder = self._cloud.folders.containers
        await asyncio.to_thread(delete_tree, folder)
        folder.mkdir(parents=True)
        _allow_many_files()
        await probe.check(folder / "probe", self._cloud.folders.root, user_namespace=self._user_namespace)
        self._watchers = [
            asyncio.create_task(
                self._for_ever("background commit", BACKGROUND_COMMIT_INTERVAL, self.views.commit_in_background)
            ),
            asyncio.create_task(self._for_ever("memory limits", memory.INTERVAL, self._keep_memory_limits)),
        ]

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        containers = list(self._running.values())
        for container in containers:
            container.kill()
        await asyncio.gather(*(container.wait() for container in containers))

    def clock_moved(self) -> None:
        """Containers that run are told, too."""
        for task_id in self._running:
            _tell_time(self._cloud.folders.containers / task_id / "runtime")

    def get(self, task_id: str) -> RunningContainer | None:
        return self._running.get(task_id)

    async def launch(self, spec: ContainerSpec) -> RunningContainer:
        """Raises OSError (StartFailed: namespaces, mounts, or the interpreter can't be started)."""
        folder = self._cloud.folders.containers / spec.task_id
        runtime_folder = folder / "runtime"
        try:
            await asyncio.to_thread(rootfs.prepare, folder / "root", spec.files, spec.volumes, spec.workdir)
            runtime_folder.mkdir()
            (runtime_folder / "arguments").write_bytes(spec.arguments)
            shutil.copyfile(_LOAD, runtime_folder / _LOAD.name)
            _tell_time(runtime_folder)
            volumes = await self.views.prepare(spec.task_id, folder / "volumes", spec.volumes)
            server = await self._serve(spec.task_id, runtime_folder / "rpc")
        except BaseException:
            await self._clean_up(spec.task_id, folder)
            raise
        layout = Layout(
            user_namespace=self._user_namespace,
            root=str(folder / "root"),
            private=list(rootfs.PRIVATE),
            exposed=[*self._interpreter, *spec.bin_path, *spec.python_path, *spec.data_path],
            hidden=[str(self._cloud.folders.root)],
            masked=self._masked,
            runtime=str(runtime_folder),
            volumes=volumes,
            ports=list(spec.host_ports),
            argv=list(self.program),
            workdir=spec.workdir,
            environment=self._environment(spec),
        )
        forwarders: list[asyncio.Server] = []
        try:
            process = await ContainerProcess.start(
                layout, lambda descriptor, text: self._cloud.logs.append(spec.task_id, descriptor, text)
            )
            self.views.started(spec.task_id, process)
            for listener, port in zip(process.listeners, spec.host_ports, strict=True):
                forwarders.append(await sockets.forward(listener, port))
        except BaseException:
            server.close()
            await self._clean_up(spec.task_id, folder)
            raise
        end = asyncio.create_task(self._end(spec.task_id, process, server, forwarders, folder))
        container = RunningContainer(spec, process, end)
        self._running[spec.task_id] = container
        return container

    def _environment(self, spec: ContainerSpec) -> dict[str, str]:
        environment = dict(spec.environment)
        environment["MODAL_SERVER_URL"] = f"unix://{RUNTIME}/rpc"
        environment["MODAL_CONTAINER_ARGUMENTS_PATH"] = f"{RUNTIME}/arguments"
        if spec.python_path:
            environment["PYTHONPATH"] = os.pathsep.join(spec.python_path)
        if spec.bin_path:
            environment["PATH"] = os.pathsep.join([*spec.bin_path, environment.get("PATH", os.defpath)])
        return environment

    async def _serve(self, task_id: str, path: Path) -> Server:
        """A gRPC server of the container's own: most of what a container calls doesn't say who calls."""
        configuration = Configuration(http2_connection_window_size=_WINDOW, http2_stream_window_size=_WINDOW)
        server = Server(self._cloud.handlers(task_id), config=configuration, status_details_codec=StatusDetails())
        await server.start(sock=sockets.bind_unix(path))
        return server

    async def _end(
        self, task_id: str, process: ContainerProcess, server: Server, forwarders: list[asyncio.Server], folder: Path
    ) -> int:
        returncode = await process.wait()
        server.close()
        for forwarder in forwarders:
            forwarder.close()
        await self._clean_up(task_id, folder)
        self._running.pop(task_id, None)
        return returncode

    async def _clean_up(self, task_id: str, folder: Path) -> None:
        await self.views.ended(task_id)
        await asyncio.to_thread(delete_tree, folder)

    async def _keep_memory_limits(self) -> None:
        limited = {each.pid: each for each in self._running.values() if each.memory_limit and not each.ended}
        if limited:
            limits = {pid: container.memory_limit for pid, container in limited.items()}
            for pid, used in (await asyncio.to_thread(memory.beyond, limits)).items():
                limited[pid].kill_for_memory(used)

    async def _for_ever(self, name: str, interval: float, what: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await what()
            except Exception:
                _log.exception("%s", name)


def _tell_time(runtime_folder: Path) -> None:
    """What `inside/clock` reads: written in one step, so that nobody reads half a number."""
    part = runtime_folder / ".ahead"
    part.write_text(repr(clock.ahead()), encoding="ascii")
    part.replace(runtime_folder / "ahead")


def _allow_many_files() -> None:
    """Each request takes descriptors here, and containers inherit the limit: the usual 1,024 is soon used up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def needs_user_namespace() -> bool:
    """Whether the right to mount must come from a user namespace: not root, or root without that right (as in most
    Docker containers)."""
    if os.environ.get(USER_NAMESPACE) == "1" or os.geteuid() != 0:
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1
    return False
