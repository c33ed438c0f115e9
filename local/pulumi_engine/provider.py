"""Client of the SDK's dynamic provider, `python -m pulumi.dynamic`, in a process of its own."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import grpc
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from local.pulumi_engine import Problem
from local.pulumi_engine.checkpoint import State
from local.pulumi_engine.project import Project, as_text
from local.pulumi_engine.properties import Properties, Secret, bare, from_struct, secrets_from, to_struct


class Failed(Exception):
    """What a provider's method raised: its last line where it has no frames, else the whole traceback."""


def child(project: Project, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """A process of the project's Python in the program's folder, which a Ctrl-C at the terminal does not reach."""
    if not project.python.exists():
        raise Problem(f"{project.python} does not exist; bootstrap/environment.sh makes it")
    path = f"{project.python.parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [str(project.python), "-u", *arguments],
        cwd=project.program,
        env={**os.environ, "PATH": path, "PULUMI_PROJECT": project.name, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pump(stream: Any, say: Callable[[str], None]) -> threading.Thread:
    """Hands every line of a child's output on as it comes."""

    def read() -> None:
        for line in stream:
            if line.strip():
                say(line.rstrip("\n"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


class DynamicProvider:
    """Starts with the first call, so that a stack without custom resources needs no process."""

    def __init__(self, project: Project, config: Properties, engine: str, say: Callable[[str], None]) -> None:
        """`config` is what the provider resource has as inputs: the stack's whole configuration."""
        self._project, self._config, self._engine, self._say = project, config, engine, say
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._pumps: list[threading.Thread] = []
        self._connection: Any = None

    def check(self, state: State, olds: Properties) -> tuple[Properties, list[tuple[str, str]]]:
        """The checked inputs, and (property, reason) for each one that is refused."""
        answer = self._call("Check", state, olds=olds, news=state.inputs, randomSeed=secrets.token_bytes(32))
        inputs = secrets_from(from_struct(answer.inputs), state.inputs)
        return inputs, [(failure.property, failure.reason) for failure in answer.failures]

    def diff(self, old: State, inputs: Properties, ignored: list[str]) -> provider_pb2.DiffResponse:
        more = {"olds": old.outputs, "old_inputs": old.inputs, "news": inputs}
        return self._call("Diff", old, id=old.id, ignoreChanges=ignored, **more)

    def create(self, state: State) -> tuple[str, Properties]:
        """(id, outputs)."""
        answer = self._call("Create", state, properties=state.inputs)
        return answer.id, _outputs(answer.properties, state)

    def update(self, old: State, new: State) -> Properties:
        more = {"olds": old.outputs, "old_inputs": old.inputs, "news": new.inputs}
        return _outputs(self._call("Update", new, id=old.id, ignoreChanges=new.ignoreChanges, **more).properties, new)

    def read(self, state: State) -> tuple[str, Properties, Properties]:
        """(id, inputs, outputs); the id is empty where the thing is gone."""
        answer = self._call("Read", state, id=state.id, properties=state.outputs, inputs=state.inputs)
        inputs = secrets_from(from_struct(answer.inputs), state.inputs) if answer.HasField("inputs") else state.inputs
        return answer.id, inputs, secrets_from(_outputs(answer.properties, state), state.outputs)

    def delete(self, state: State) -> None:
        self._call("Delete", state, id=state.id, properties=state.outputs, old_inputs=state.inputs)

    def stop(self) -> None:
        if self._process:
            self._process.kill()  # it waits for ever, and holds nothing between calls
            self._process.wait()
            for thread in self._pumps:
                thread.join(2)

    def _call(self, method: str, state: State, **fields: Any) -> Any:
        """Calls a method about one resource; fields that are dicts are properties. Raises Failed."""
        with self._lock:
            if self._connection is None:
                self._connection = self._start()
        fields = {key: to_struct(v, secrets=False) if isinstance(v, dict) else v for key, v in fields.items()}
        request = getattr(provider_pb2, f"{method}Request")(urn=state.urn, name=state.name, type=state.type, **fields)
        try:
            return getattr(self._connection, method)(request)
        except grpc.RpcError as error:
            raise Failed((error.details() or "the provider process ended").strip()) from None

    def _start(self) -> provider_pb2_grpc.ResourceProviderStub:
        self._process = child(self._project, "-m", "pulumi.dynamic", self._engine, PULUMI_CONFIG="{}")
        assert self._process.stdout
        port = self._process.stdout.readline().strip()
        self._pumps = [pump(self._process.stderr, self._say)]
        if not port.isdigit():
            self._pumps[0].join(2)
            raise Failed("the dynamic provider did not start (see above)")
        self._pumps.append(pump(self._process.stdout, self._say))
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_GRPC_CHANNEL_OPTIONS)
        connection = provider_pb2_grpc.ResourceProviderStub(channel)
        connection.Configure(
            provider_pb2.ConfigureRequest(
                args=to_struct(self._config, secrets=True),
                variables={f"pulumi-python:config:{key}": as_text(bare(v)) for key, v in self._config.items()},
                acceptSecrets=True,
                acceptResources=True,
            )
        )
        return connection


def _outputs(struct: Any, state: State) -> Properties:
    outputs = secrets_from(from_struct(struct), state.inputs)
    for key in state.additionalSecretOutputs:
        if key in outputs and not isinstance(outputs[key], Secret):
            outputs[key] = Secret(outputs[key])
    return outputs
