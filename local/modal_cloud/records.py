"""What the cloud remembers: plain dataclasses, one per kind of thing, all persisted by `store.Store`.

Times are Unix seconds (float), ids are Modal's (prefix + 22 alphanumerics). Optional values are None until they
are known. A record is changed only on the event loop and then saved with `cloud.<table>.save(record)`: what has
been acknowledged to a client has been saved. Protobuf messages inside records are values: replace, don't share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from modal_proto import api_pb2


@dataclass
class Environment:
    id: str
    name: str
    created_at: float


@dataclass
class Volume:
    """Committed content lives in `cloud.folders.volume(id)`; everything else about a volume is here."""

    id: str
    environment: str
    name: str
    """Empty for ephemeral volumes."""
    version: int
    """api_pb2.VolumeFsVersion: 1 or 2."""
    created_at: float
    heartbeat_at: float | None = None
    """Ephemeral volumes only: last sign of life of the owner."""


@dataclass
class Secret:
    id: str
    environment: str
    name: str
    """Empty for anonymous secrets (`env=`, `Secret.from_dict`)."""
    created_at: float
    values: dict[str, str] = field(repr=False)
    app_id: str | None = None
    last_used_at: float | None = None


@dataclass
class Dict:
    """The entries are rows of their own (`dicts.entries`), not part of the record."""

    id: str
    environment: str
    name: str
    created_at: float
    heartbeat_at: float | None = None


@dataclass
class Queue:
    """The items are rows of their own (`queues.state`), not part of the record."""

    id: str
    environment: str
    name: str
    """Empty for ephemeral queues."""
    created_at: float
    heartbeat_at: float | None = None


@dataclass
class MountedFile:
    path: str
    """Absolute path in the container."""
    sha256: str
    """Content: `cloud.folders.content(sha256)`."""
    mode: int
    """0 where the client sent none."""


@dataclass
class Mount:
    id: str
    name: str
    """Empty unless it is one of the global mounts the SDK looks up by name (client, standalone python)."""
    files: list[MountedFile]
    created_at: float
    checksum: str = ""


@dataclass
class Image:
    """One layer. `base_id` leads down the chain to the layer with a registry tag."""

    id: str
    base_id: str | None
    commands: list[str]
    """The Dockerfile lines of this layer, recorded, not run."""
    builder_version: str
    created_at: float
    definition: api_pb2.Image
    key: str = ""
    """Hash of definition and builder version: the same layer is built once."""
    tag: str | None = None
    """The FROM tag; only on the lowest layer of a chain."""
    environment: dict[str, str] = field(default_factory=dict)
    """What this layer's ENV lines set."""
    workdir: str | None = None
    mount_id: str | None = None
    """Build context (`copy=True` sources): its files are part of the image."""
    error: str | None = None
    """Why the layer can't be built, as its build log said; None once built."""


@dataclass
class FunctionDefinition:
    """What one FunctionCreate said; a function id keeps one per app version."""

    id: str
    """`de-…`"""
    function: api_pb2.Function
    """Complete: for GPU lists the first choice, with its resources."""
    data: api_pb2.FunctionData
    created_at: float

    def gpu(self, task: Task) -> api_pb2.GPUConfig:
        """What a task of this definition was given; a count of 0 is none."""
        return self.data.ranked_functions[task.gpu_rank].function.resources.gpu_config


@dataclass
class Function:
    """A function, the service function of a class (`Name.*`), or a server; ids outlive redeploys."""

    id: str
    app_id: str
    name: str
    """`f`, `Class.*`; what `api_pb2.Function.function_name` says."""
    created_at: float
    handle: api_pb2.FunctionHandleMetadata
    """As precreated or created last; `functions.handle()` is what clients get."""
    definitions: dict[str, FunctionDefinition] = field(default_factory=dict)
    live_definition_id: str | None = None
    """Set by publish and rollback: what new containers run."""
    autoscaler_override: api_pb2.AutoscalerSettings = field(default_factory=api_pb2.AutoscalerSettings)
    """Only the fields that an autoscaler update has set; cleared by each deploy and rollback."""
    overridden_at: float | None = None
    base_id: str = ""
    """Of a variant (`functions.variants`): the function whose definitions it follows."""
    parameters: bytes = b""
    """Of a variant: serialized parameters of its class."""
    options: api_pb2.FunctionOptions = field(default_factory=api_pb2.FunctionOptions)
    """Of a variant: what `.with_options()` and its like have set."""

    @property
    def live(self) -> FunctionDefinition | None:
        return self.definitions.get(self.live_definition_id or "")


@dataclass
class Class:
    id: str
    app_id: str
    handle: api_pb2.ClassHandleMetadata
    created_at: float


@dataclass
class AppVersion:
    number: int
    function_ids: dict[str, str]
    class_ids: dict[str, str]
    definition_ids: dict[str, str]
    """function id → definition id"""
    deployed_at: float
    client_version: str
    tag: str
    commit_info: api_pb2.CommitInfo | None = None
    rollback_of: int | None = None


@dataclass
class App:
    id: str
    environment: str
    name: str
    """Empty for ephemeral apps."""
    description: str
    state: int
    """api_pb2.AppState"""
    created_at: float
    tags: dict[str, str] = field(default_factory=dict)
    versions: list[AppVersion] = field(default_factory=list)
    live_version: int = 0
    """Number of the version that serves; 0 before the first publish."""
    function_ids: dict[str, str] = field(default_factory=dict)
    """Of the live version: name → id."""
    class_ids: dict[str, str] = field(default_factory=dict)
    deployed_at: float | None = None
    stopped_at: float | None = None
    heartbeat_at: float | None = None
    """Ephemeral apps: last sign of life of the client that runs them."""

    @property
    def running(self) -> bool:
        return self.state in (
            api_pb2.APP_STATE_EPHEMERAL,
            api_pb2.APP_STATE_DETACHED,
            api_pb2.APP_STATE_DETACHED_DISCONNECTED,
            api_pb2.APP_STATE_DEPLOYED,
        )


@dataclass
class Task:
    """One container. Created by the scheduler through `cloud.tasks.create`, ended through `cloud.tasks.finish`."""

    id: str
    app_id: str
    function_id: str
    definition_id: str
    app_version: int
    enqueued_at: float
    started_at: float | None = None
    """The process runs."""
    ready_at: float | None = None
    """First FunctionGetInputs of a function, readiness (port answers) of a server."""
    finished_at: float | None = None
    pid: int | None = None
    """Host pid of the container's first process, so that leftovers of a killed emulator can be ended."""
    process_started_at: float | None = None
    """psutil's create_time of that pid: a pid alone may have been given to someone else."""
    result: api_pb2.GenericResult | None = None
    gpu_rank: int = 0
    """Which of the function's GPU choices it got: 0 is the most wanted."""


class CallKind(StrEnum):
    REMOTE = "remote"
    """FunctionMap by a client: persisted."""
    SCHEDULED = "scheduled"
    """Cron or period: persisted, nobody waits for it."""
    WEB = "web"
    """From the ingress: lives in memory, ends with the connection."""


@dataclass
class FunctionCall:
    id: str
    function_id: str
    app_id: str
    kind: CallKind
    invocation: int
    """api_pb2.FunctionCallInvocationType"""
    created_at: float
    is_map: bool = False
    parent_input_id: str = ""
    input_ids: list[str] = field(default_factory=list)
    expected_inputs: int | None = None
    """Known once FunctionFinishInputs came (maps)."""
    output_ids: list[str] = field(default_factory=list)
    """Input ids in the order in which they ended; the position is the entry id of FunctionGetOutputs."""
    cancelled: bool = False
    request_key: str = ""
    """Of the request that made it: a second attempt at the same request gets the same call."""


class InputState(StrEnum):
    QUEUED = "queued"
    WAITING = "waiting"
    """Failed, to be tried again at `due_at`."""
    RUNNING = "running"
    DONE = "done"


@dataclass
class Input:
    id: str
    call_id: str
    function_id: str
    idx: int
    payload: api_pb2.FunctionInput
    enqueued_at: float
    state: InputState = InputState.QUEUED
    due_at: float = 0.0
    tries: int = 0
    """Failed attempts so far (what the container sees as retry_count)."""
    task_id: str | None = None
    """Where it runs, or ran last."""
    started_at: float | None = None
    ended_at: float | None = None
    deaths: int = 0
    """Containers that ended while running it."""
    result: api_pb2.GenericResult | None = None
    result_format: int = 0
    """api_pb2.DataFormat of `result.data`."""


@dataclass
class Endpoint:
    """A web endpoint's fixed address. `id` is `<environment>/<app name or id>/<function>[.<method>]`."""

    id: str
    port: int
    app_id: str
    """Of the app that announced it last."""
    function_id: str = ""
    method: str = ""
    """Method of the class for `@modal.web_server` on a class, else empty."""
