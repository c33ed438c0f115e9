"""The two processes of an update, both the unmodified SDK's, and gRPC between them and the engine.

The engine calls the dynamic provider (`python -m pulumi.dynamic`: ResourceProvider), the program calls the engine
(ResourceMonitor for its resources, Engine for its log).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, resource_pb2
from pulumi.runtime.proto import resource_pb2_grpc as monitor_grpc

from local.pulumi_engine import Problem
from local.pulumi_engine.deployment import Deployment, Failed, Stopped
from local.pulumi_engine.display import Display
from local.pulumi_engine.project import Project
from local.pulumi_engine.state import STACK_TYPE, State
from local.pulumi_engine.values import Properties, bare, is_secret, mapped, marked_like, secret

_EXPLAINED = 32
"""The status of a program that has told its error itself."""
_FOLLOWED = {
    *("type", "name", "custom", "object", "parent", "protect", "dependencies", "propertyDependencies", "ignoreChanges"),
    *("additionalSecretOutputs", "retainOnDelete", "aliasURNs"),
    # What the SDK says of itself and of the place in the program.
    *("acceptSecrets", "acceptResources", "supportsPartialValues", "supportsResultReporting", "accepts_byte_string"),
    *("sourcePosition", "stackTrace", "parentStackTraceHandle", "snippetId", "version"),
}
"""The fields of a registration that this engine follows. One with any other is refused."""


def from_struct(struct: struct_pb2.Struct) -> Properties:
    whole = json.loads(json_format.MessageToJson(struct, sort_keys=True))  # on the wire the order is any
    return mapped(whole, leaf=lambda it: int(it) if isinstance(it, float) and it.is_integer() else it)


def to_struct(properties: Properties) -> struct_pb2.Struct:
    return json_format.ParseDict(properties, struct_pb2.Struct())


class Child:
    """A process of the project's Python in the program's folder, which a Ctrl-C at the terminal does not reach."""

    def __init__(self, project: Project, *arguments: str, **environ: str) -> None:
        if not project.python.exists():
            raise Problem(f"{project.python} does not exist; bootstrap/environment.sh makes it")
        command, path = [str(project.python), "-u", *arguments], f"{project.python.parent}:{os.environ['PATH']}"
        environ = {**os.environ, "PATH": path, "PULUMI_PROJECT": project.name, **environ}
        self.process = Popen(
            command, cwd=project.program, env=environ, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True
        )
        self.lines = (line.rstrip("\n") for line in self.process.stdout or () if line.strip())
        self.ended = threading.Event()

    def pass_on(self, say: Callable[[str], None]) -> None:
        """From now on `say` gets each line of its output as it comes."""

        def read() -> None:
            for line in self.lines:
                say(line)
            self.ended.set()

        threading.Thread(target=read, daemon=True).start()

    def end(self, grace: float = 0) -> None:
        """Returns when it is gone and its last line was said; it gets `grace` seconds to end after an interrupt."""
        if grace and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(TimeoutExpired):
                self.process.wait(grace)
        self.process.kill()
        self.process.wait()
        self.ended.wait(2)


class DynamicProvider:
    """Starts at once, beside the program; the first call waits for it."""

    def __init__(self, project: Project, config: Properties, engine: str, say: Callable[[str], None]) -> None:
        """`config` is what the provider resource has as inputs: the stack's whole configuration."""
        self.config, self._say = config, say
        self._child = Child(project, "-m", "pulumi.dynamic", engine, PULUMI_CONFIG="{}")
        self._connected = ThreadPoolExecutor(1).submit(self._connect)

    def check(self, state: State, olds: Properties) -> tuple[Properties, list[tuple[str, str]]]:
        """The checked inputs, and (property, reason) for each one that is refused."""
        answer = self._call("Check", state, olds=olds, news=state.inputs, randomSeed=secrets.token_bytes(32))
        inputs = marked_like(from_struct(answer.inputs), state.inputs)
        return inputs, [(failure.property, failure.reason) for failure in answer.failures]

    def diff(self, old: State, inputs: Properties, ignored: list[str]) -> provider_pb2.DiffResponse:
        sides = {"olds": old.outputs, "old_inputs": old.inputs, "news": inputs}
        return self._call("Diff", old, id=old.id, ignoreChanges=ignored, **sides)

    def create(self, state: State) -> tuple[str, Properties]:
        """(id, outputs)."""
        answer = self._call("Create", state, properties=state.inputs)
        return answer.id, _outputs(answer.properties, state)

    def update(self, old: State, new: State) -> Properties:
        sides = {"olds": old.outputs, "old_inputs": old.inputs, "news": new.inputs}
        return _outputs(self._call("Update", new, id=old.id, ignoreChanges=new.ignoreChanges, **sides).properties, new)

    def read(self, state: State) -> tuple[str, Properties, Properties]:
        """(id, inputs, outputs); the id is empty where the thing is gone."""
        answer = self._call("Read", state, id=state.id, properties=state.outputs, inputs=state.inputs)
        inputs = marked_like(from_struct(answer.inputs), state.inputs) if answer.HasField("inputs") else state.inputs
        return answer.id, inputs, marked_like(_outputs(answer.properties, state), state.outputs)

    def delete(self, state: State) -> None:
        self._call("Delete", state, id=state.id, properties=state.outputs, old_inputs=state.inputs)

    def cancel(self) -> None:
        """Asks for an early end of what runs. From any thread; providers are free to do nothing about it."""
        if self._connected.done():
            with suppress(grpc.RpcError, Failed):  # it has ended
                self._connected.result().Cancel(empty_pb2.Empty(), timeout=2)

    def stop(self) -> None:
        self._child.end()  # it waits for ever, and holds nothing between calls

    def _call(self, method: str, state: State, **fields: Any) -> Any:
        """Calls a method about one resource; fields that are dicts are properties. Raises Failed."""
        fields = {key: to_struct(bare(v)) if isinstance(v, dict) else v for key, v in fields.items()}
        request = getattr(provider_pb2, f"{method}Request")(urn=state.urn, name=state.name, type=state.type, **fields)
        try:
            return getattr(self._connected.result(), method)(request)
        except grpc.RpcError as error:
            raise Failed((error.details() or "the provider process ended").strip()) from None

    def _connect(self) -> provider_pb2_grpc.ResourceProviderStub:
        for line in self._child.lines:
            if line.isdigit():  # the port
                break
            self._say(line)
        else:
            self._child.ended.set()
            raise Failed("the dynamic provider did not start (see above)")
        self._child.pass_on(self._say)
        channel = grpc.insecure_channel(f"127.0.0.1:{line}", options=_GRPC_CHANNEL_OPTIONS)
        connection = provider_pb2_grpc.ResourceProviderStub(channel)
        connection.Configure(provider_pb2.ConfigureRequest(args=to_struct(self.config)))
        return connection


def _outputs(struct: Any, state: State) -> Properties:
    outputs = marked_like(from_struct(struct), state.inputs)
    hidden = [key for key in state.additionalSecretOutputs if key in outputs and not is_secret(outputs[key])]
    return outputs | {key: secret(outputs[key]) for key in hidden}


class Program(monitor_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer):
    """The program's process, and both services on one port."""

    def __init__(self, stack: str, project: Project, display: Display) -> None:
        self._stack, self._project, self._display = stack, project, display
        self._deployment: Deployment
        self._registered, self._over = threading.Event(), threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(256), options=_GRPC_CHANNEL_OPTIONS)
        monitor_grpc.add_ResourceMonitorServicer_to_server(self, self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def run(self, deployment: Deployment, config: Properties, options: Any) -> None:
        """Returns once the program has ended well and everything it registered was carried out. Raises Stopped."""
        self._deployment = deployment
        request = {"project": self._project.name, "stack": self._stack, "dryRun": options.dry_run}
        request |= {"monitor_address": self.address, "args": [self.address], "parallel": options.parallel}
        request |= {"config": bare(config), "configSecretKeys": [key for key in config if is_secret(config[key])]}
        main = str(Path(__file__).with_name("program_main.py"))
        child = Child(self._project, main, PULUMI_RUN_REQUEST=json.dumps(request))
        child.pass_on(self._display.say)
        try:
            while not child.ended.wait(0.02):
                if deployment.stopped.is_set():
                    deployment.wait_for_running_steps()
                    raise Stopped
        finally:
            child.end(grace=2)
            self._over.set()
        status = child.process.returncode
        if status or not self._registered.is_set():
            text = f"an unhandled error occurred: program exited with non-zero exit code: {status}"
            raise Stopped("" if status == _EXPLAINED else text)

    def stop(self) -> None:
        self._over.set()
        self._server.stop(0.2)

    def GetDeploymentInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        # The SDK blames an old CLI for hooks and transforms, unless they are said to be there; then they are refused.
        names = ("SECRETS", "RESOURCE_HOOKS", "ERROR_HOOKS", "TRANSFORMS", "INVOKE_TRANSFORMS")
        features = [getattr(resource_pb2, f"RESOURCE_MONITOR_FEATURE_{name}") for name in names]
        return resource_pb2.DeploymentInfo(project=self._project.name, stack=self._stack, supportedFeatures=features)

    def RegisterResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.custom and not request.type.startswith("pulumi-python:dynamic"):
            return self._refuse(context, f"{request.type} is no dynamic resource")
        found = request.ListFields()
        given = {field.name for field, value in found if not hasattr(value, "ByteSize") or value.ByteSize()}
        if given - _FOLLOWED:
            return self._refuse(context, f"{request.name} uses {', '.join(sorted(given - _FOLLOWED))}")
        try:
            state = self._deployment.register(self._wanted(request), list(request.aliasURNs))
        except Stopped:
            return self._end(context)
        outputs = to_struct(state.outputs if state.custom else {})
        return resource_pb2.RegisterResourceResponse(urn=state.urn, id=state.id, object=outputs)

    def RegisterResourceOutputs(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._deployment.register_outputs(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._registered.set()
        return empty_pb2.Empty()

    def Log(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.severity != engine_pb2.DEBUG:
            self._display.log(engine_pb2.LogSeverity.Name(request.severity).lower(), request.urn, request.message)
        return empty_pb2.Empty()

    def _wanted(self, request: Any) -> State:
        prefix = f"urn:pulumi:{self._stack}::{self._project.name}::"
        parent = request.parent
        if not parent and request.type != STACK_TYPE:
            parent = f"{prefix}{STACK_TYPE}::{self._project.name}-{self._stack}"
        above = parent.split("::")[2] if parent else STACK_TYPE
        type_ = request.type if above == STACK_TYPE else f"{above}${request.type}"
        return State(
            f"{prefix}{type_}::{request.name}",
            request.custom,
            request.type,
            inputs=from_struct(request.object),
            parent=parent,
            protect=request.protect,
            dependencies=sorted(request.dependencies),
            propertyDependencies={key: sorted(deps.urns) for key, deps in sorted(request.propertyDependencies.items())},
            additionalSecretOutputs=list(request.additionalSecretOutputs),
            retainOnDelete=request.retainOnDelete,
            ignoreChanges=list(request.ignoreChanges),
        )

    def _refuse(self, context: grpc.ServicerContext, what: str) -> Any:
        if not self._deployment.stopped.is_set():
            text = f"{what}, which the bundled engine does not do; install the Pulumi CLI for it"
            self._display.log("error", "", text)
        self._deployment.stopped.set()
        return self._end(context)

    def _end(self, context: grpc.ServicerContext) -> Any:
        """Tells the program that nothing more will come, but not before it is gone: it would report an error."""
        self._over.wait()
        return context.abort(grpc.StatusCode.UNAVAILABLE, "the deployment has ended")


def _refusing(name: str) -> Callable[..., Any]:
    return lambda self, request, context: self._refuse(context, f"the program uses {name}")


for _name in vars(monitor_grpc.ResourceMonitorServicer):
    if not _name.startswith("_") and _name not in vars(Program):
        setattr(Program, _name, _refusing(_name))
