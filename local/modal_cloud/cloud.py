"""The cloud: one object that owns the state, the services and what runs containers.

    cloud = Cloud(Folders(root), CloudSettings(...))
    await cloud.start()
    ...
    await cloud.close()

Attributes used across packages (contracts in `seams`): folders, settings, apps, functions, calls, tasks, logs, volumes,
endpoints, runtime, scheduler, ingress, schedules, billing, faults, handlers(task_id).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpclib.config
import grpclib.server
from grpclib._typing import IServable

from local.modal_cloud.apps.releases import Releases
from local.modal_cloud.apps.state import Apps
from local.modal_cloud.apps.wire import AppsWire
from local.modal_cloud.billing.state import Billing
from local.modal_cloud.billing.wire import BillingWire
from local.modal_cloud.blobs.http import BulkHttp
from local.modal_cloud.blobs.state import Blobs
from local.modal_cloud.blobs.wire import BlobsWire
from local.modal_cloud.calls.container_wire import ContainerCallsWire
from local.modal_cloud.calls.state import Calls
from local.modal_cloud.calls.wire import CallsWire
from local.modal_cloud.containers.runtime import Runtime
from local.modal_cloud.dicts.state import Dicts
from local.modal_cloud.dicts.wire import DictsWire
from local.modal_cloud.environments.state import Environments
from local.modal_cloud.environments.wire import EnvironmentsWire
from local.modal_cloud.faults.control import FaultsControl
from local.modal_cloud.faults.ordered import Faults
from local.modal_cloud.faults.rpcs import RpcFaults
from local.modal_cloud.folders import Folders
from local.modal_cloud.functions.state import Functions
from local.modal_cloud.functions.wire import FunctionsWire
from local.modal_cloud.images.state import Images
from local.modal_cloud.images.wire import ImagesWire
from local.modal_cloud.ingress.ingress import Ingress
from local.modal_cloud.logs.state import Logs
from local.modal_cloud.logs.wire import LogsWire
from local.modal_cloud.mounts.state import Mounts
from local.modal_cloud.mounts.wire import MountsWire
from local.modal_cloud.queues.state import Queues
from local.modal_cloud.queues.wire import QueuesWire
from local.modal_cloud.records import App, Endpoint
from local.modal_cloud.rpc import Caller, Interface
from local.modal_cloud.schedules.control import ClockControl
from local.modal_cloud.schedules.state import Schedules
from local.modal_cloud.scheduling.scheduler import Scheduler
from local.modal_cloud.secrets.state import Secrets
from local.modal_cloud.secrets.wire import SecretsWire
from local.modal_cloud.status_details import StatusDetails
from local.modal_cloud.store import Store, Table
from local.modal_cloud.tasks.state import Tasks
from local.modal_cloud.tasks.wire import TasksWire
from local.modal_cloud.volumes.state import Volumes
from local.modal_cloud.volumes.uploads import Uploads
from local.modal_cloud.volumes.wire import VolumesWire
from local.modal_cloud.watching.control import WatchControl
from local.modal_cloud.watching.overview import Overview
from local.modal_cloud.workspace.wire import WorkspaceWire

log = logging.getLogger("local.modal_cloud")

SWEEP_SECONDS = 5.0
WINDOW = 64 * 1024 * 1024
"""Bytes of HTTP/2 flow control, as the SDK's own."""


@dataclass(frozen=True)
class CloudSettings:
    port: int
    """gRPC on 127.0.0.1."""
    http_port: int
    """Bulk data on 127.0.0.1."""
    token_id: str
    token_secret: str = field(repr=False)
    container_environment: Mapping[str, str] = field(default_factory=dict)
    """Added to every container, such as HF_ENDPOINT."""
    container_ports: Sequence[int] = ()
    """Further loopback ports that containers can reach (the local Hub)."""


class AlreadyRunning(Exception):
    """Another cloud uses this folder."""


class Cloud:
    def __init__(self, folders: Folders, settings: CloudSettings) -> None:
        """Opens the state. Raises AlreadyRunning."""
        folders.create()
        self.folders = folders
        self.settings = settings
        self._lock = (folders.state / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyRunning(f"another local cloud uses {folders.root}") from None
        self.faults = Faults()
        self.store = Store(folders.state / "cloud.sqlite")
        self.schedules = Schedules(self)
        self.billing = Billing(self)
        self.environments = Environments(self.store)
        self.secrets = Secrets(self.store)
        self.dicts = Dicts(self.store)
        self.queues = Queues(self.store)
        self.volumes = Volumes(self.store, folders)
        self.uploads = Uploads(folders)
        self.blobs = Blobs(folders)
        self.mounts = Mounts(self.store, folders)
        self.images = Images(self.store, folders)
        self.images.sabotage = self.faults.image
        self.endpoints: Table[Endpoint] = Table(self.store, "endpoints", Endpoint)
        self.apps = Apps(self.store)
        self.releases = Releases(self)
        self.functions = Functions(self)
        self.tasks = Tasks(self)
        self.calls = Calls(self)
        self.logs = Logs(self.store, self.tasks.attribution)
        self.overview = Overview(self)
        control = [
            *FaultsControl(self.faults).routes(),
            *ClockControl(self.schedules).routes(),
            *WatchControl(self, self.overview).routes(),
        ]
        secret = settings.token_secret
        self.http = BulkHttp(folders, self.volumes, settings.http_port, secret, self.overview.apps, control)
        self.runtime = Runtime(self)
        self.scheduler = Scheduler(self)
        self.ingress = Ingress(self)
        self.interface = Interface(
            (
                wire(self)
                for wire in (
                    *(
                        AppsWire,
                        BillingWire,
                        BlobsWire,
                        CallsWire,
                        ContainerCallsWire,
                        DictsWire,
                        EnvironmentsWire,
                        FunctionsWire,
                    ),
                    *(ImagesWire, LogsWire, MountsWire, QueuesWire, SecretsWire, TasksWire, VolumesWire, WorkspaceWire),
                )
            ),
            settings.token_id,
            settings.token_secret,
        )
        self.interface.interference = RpcFaults(self)
        self.faults.changed = self.scheduler.fault_ordered
        self.runtime.views.room = lambda volume_id: self.faults.room(self.volumes.get(volume_id).name)
        self._server: grpclib.server.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Everything of the former life is taken up again. Raises OSError when a port is taken."""
        # Bound before any container starts; who connects now is answered once all is up.
        listener = _listen(self.settings.port)
        await self.http.start()
        await self.runtime.start()
        self.secrets.forget_anonymous(self.functions.secrets_in_use())
        self.calls.start()
        await self.scheduler.start()
        await self.ingress.start()
        await self.schedules.start()
        server = grpclib.server.Server(self.handlers(), config=grpc_config(), status_details_codec=StatusDetails())
        await server.start(sock=listener)
        self._server = server
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Ends all containers; the state stays."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        self.schedules.close()
        self.calls.close()
        await self.ingress.close()
        await self.scheduler.close()
        await self.runtime.close()
        await self.http.close()
        self.store.close()
        self._lock.close()

    def handlers(self, task_id: str | None = None) -> list[IServable]:
        """The gRPC services, for one container's own socket or (without a task id) for clients with the token."""
        return [self.interface.handler(task_id)]

    # -- what several services need

    @property
    def token_id(self) -> str:
        return self.settings.token_id

    @property
    def container_environment(self) -> Mapping[str, str]:
        return self.settings.container_environment

    @property
    def container_ports(self) -> list[int]:
        """Loopback ports of the host that every container can reach: bulk data and what the settings add."""
        return [self.settings.http_port, *self.settings.container_ports]

    def web_ports(self) -> list[int]:
        """Of the web endpoints and servers of apps that run now: containers reach them, as on Modal."""
        running = {app.id for app in self.apps.running()}
        return [endpoint.port for endpoint in self.endpoints.all() if endpoint.app_id in running]

    def environment_of(self, name: str, caller: Caller) -> str:
        """The environment a request means: the named one, a container's own, or the default. Raises NotFound."""
        if not name and caller.task_id is not None:
            return self.apps.get(self.tasks.get(caller.task_id).app_id).environment
        return self.environments.resolve(name)

    def app_url(self, app: App) -> str:
        return self.http.app_url(app.id)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self.releases.sweep()
            except Exception:
                log.exception("sweep failed")


def _listen(port: int) -> socket.socket:
    # The protocol is said explicitly because asyncio switches Nagle's algorithm off only then (40 ms per call).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def grpc_config() -> grpclib.config.Configuration:
    return grpclib.config.Configuration(http2_connection_window_size=WINDOW, http2_stream_window_size=WINDOW)


if TYPE_CHECKING:
    from local.modal_cloud import seams

    def _keeps_the_contracts(
        cloud: Cloud,
    ) -> tuple[seams.Runtime, seams.Scheduler, seams.Ingress, seams.Calls, seams.Tasks, seams.Functions, seams.Logs]:
        """Never called: the type checker compares the parts with what `seams` says of them."""
        return cloud.runtime, cloud.scheduler, cloud.ingress, cloud.calls, cloud.tasks, cloud.functions, cloud.logs
