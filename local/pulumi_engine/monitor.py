"""The gRPC services that a running program talks to: ResourceMonitor (its resources) and Engine (its log)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, resource_pb2, resource_pb2_grpc

from local.pulumi_engine.checkpoint import STACK_TYPE, State
from local.pulumi_engine.deployment import Deployment, Goal, Stopped
from local.pulumi_engine.display import Display
from local.pulumi_engine.properties import from_struct, to_struct

_DYNAMIC = "pulumi-python:dynamic"
_SEVERITIES = {engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}
_NOT_DONE = (
    "importId",
    "deletedWith",
    "replaceOnChanges",
    "transforms",
    "provider",
    "providers",
    "remote",
    "packageRef",
)


class Services(resource_pb2_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer):
    """Both services on one port, for one run of the program."""

    def __init__(self, stack: str, project: str, display: Display) -> None:
        self._stack, self._project, self._display = stack, project, display
        self._deployment: Deployment | None = None
        self._root = ""
        self.done = threading.Event()
        """The program has registered everything."""
        self.over = threading.Event()
        """What was refused may be told so: the program has ended."""
        self._server = grpc.server(ThreadPoolExecutor(256), options=_GRPC_CHANNEL_OPTIONS)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(self, self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def serve(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def stop(self) -> None:
        self.over.set()
        self._server.stop(0.2)

    # ResourceMonitor

    def GetDeploymentInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        features = [resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS]
        return resource_pb2.DeploymentInfo(project=self._project, stack=self._stack, supportedFeatures=features)

    def RegisterResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        assert self._deployment
        if request.custom and not request.type.startswith(_DYNAMIC):
            self._refuse(context, f"{request.type} is no dynamic resource")
        if used := next((name for name in _NOT_DONE if getattr(request, name)), None):
            self._refuse(context, f"{request.name} uses the option {used}")
        try:
            state = self._deployment.register(self._goal(request))
        except Stopped:
            self.over.wait()
            context.abort(grpc.StatusCode.UNAVAILABLE, "the deployment has ended")
        return resource_pb2.RegisterResourceResponse(
            urn=state.urn, id=state.id, object=to_struct(state.outputs if state.custom else {}, secrets=True)
        )

    def RegisterResourceOutputs(self, request: Any, context: grpc.ServicerContext) -> Any:
        assert self._deployment
        self._deployment.register_outputs(request.urn, from_struct(request.outputs))
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.done.set()
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, f"the program calls the provider function {request.tok}")

    def ReadResource(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._refuse(context, f"the program reads {request.name}, which it does not create")

    def _refuse(self, context: grpc.ServicerContext, what: str) -> None:
        text = f"{what}, which the bundled engine cannot do; install the Pulumi CLI for it"
        context.abort(grpc.StatusCode.UNIMPLEMENTED, text)

    def _goal(self, request: Any) -> Goal:
        parent = request.parent or (self._root if request.type != STACK_TYPE else "")
        qualified = request.type
        if parent:
            above = parent.split("::")[2]
            qualified = request.type if above == STACK_TYPE else f"{above}${request.type}"
        urn = f"urn:pulumi:{self._stack}::{self._project}::{qualified}::{request.name}"
        if request.type == STACK_TYPE:
            self._root = urn
        state = State(
            urn,
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
        first = request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None
        return Goal(state, list(request.aliasURNs), first)

    # Engine

    def Log(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.severity in _SEVERITIES:  # debug messages are left out
            self._display.log(_SEVERITIES[request.severity], request.urn, request.message)
        return empty_pb2.Empty()
