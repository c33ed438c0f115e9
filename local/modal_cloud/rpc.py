"""gRPC plumbing: Modal's whole interface, of which the services answer what they have a method for.

A wire class has methods named after RPCs: `async def VolumeCommit(self, request, caller)` returns the response; for a
server stream it is an async generator of responses. Everything else of the interface answers UNIMPLEMENTED and says
its name. Authentication, tracing and fault injection happen here, once for all calls.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpclib.const
import grpclib.server
from grpclib import GRPCError, Status
from modal_proto import api_grpc

from local.modal_cloud.errors import Unauthenticated, Unimplemented
from local.modal_cloud.refusals import refusal
from local.modal_cloud.watching.trace import Trace

log = logging.getLogger("local.modal_cloud.rpc")


@dataclass(frozen=True)
class Caller:
    """Who calls: a client with the token, or a container over its own socket."""

    task_id: str | None = None
    client_version: str = ""
    request_key: str = ""
    """The same for each attempt at one request; empty where the client sends none."""

    def task(self) -> str:
        """The calling container's task id. Raises UNAUTHENTICATED for clients outside."""
        if self.task_id is None:
            raise Unauthenticated("this call is for containers only")
        return self.task_id


class Dropped(Exception):
    """Instead of an answer the caller's connection is cut, with whatever else travels on it."""


class Interference(Protocol):
    """What comes between calls and services (`faults.rpcs`). Both may wait, and raise GRPCError or Dropped."""

    async def before(self, name: str, request: Any, caller: Caller) -> None:
        """Nothing has been done yet."""

    async def after(self, name: str, request: Any, response: Any, caller: Caller) -> None:
        """The call has taken effect; of a stream this is its first response, None where
        it has none."""


class Interface:
    """All RPCs, bound to the wire objects that implement them."""

    def __init__(self, wires: Iterable[object], token_id: str, token_secret: str) -> None:
        self._methods: dict[str, Callable[..., Any]] = {}
        self._token = (token_id, token_secret)
        self.interference: Interference | None = None
        self.trace = Trace()
        known = _interface()
        for wire in wires:
            for name, method in inspect.getmembers(wire, inspect.ismethod):
                if not name[0].isupper():
                    continue
                if f"/modal.client.ModalClient/{name}" not in known or name in self._methods:
                    raise TypeError(f"{type(wire).__name__}.{name} is no RPC of Modal's, or one implemented twice")
                self._methods[name] = method

    @property
    def implemented(self) -> list[str]:
        return sorted(self._methods)

    def handler(self, task_id: str | None = None) -> _Handler:
        """What grpclib's Server takes. Without a task id callers must present the token."""
        return _Handler(self, task_id)

    async def answer(self, name: str, task_id: str | None, streamed: bool, stream: Any) -> None:
        began, started = time.time(), time.monotonic()
        status, told = "OK", ""
        try:
            caller = self._authenticate(task_id, stream.metadata or {})
            request = await stream.recv_message()
            method = self._methods.get(name)
            if method is None:
                raise Unimplemented(refusal(name))
            interference = self.interference
            if interference is not None:
                await interference.before(name, request, caller)
            if streamed:
                async for response in method(request, caller):
                    if interference is not None:
                        await interference.after(name, request, response, caller)
                        interference = None
                    await stream.send_message(response)
                if interference is not None:
                    await interference.after(name, request, None, caller)
            else:
                response = await method(request, caller)
                if interference is not None:
                    await interference.after(name, request, response, caller)
                await stream.send_message(response)
        except GRPCError as error:
            status, told = error.status.name, f": {error.message}"
            raise
        except Dropped:
            status = "DROPPED"
            # grpclib offers no way to end a connection from a handler.
            stream._stream._transport.abort()
            raise grpclib.exceptions.StreamTerminatedError("dropped by an ordered fault") from None
        except (ConnectionError, grpclib.exceptions.StreamTerminatedError, asyncio.CancelledError):
            status = "GONE"
            raise
        except Exception as error:
            status = "INTERNAL"
            log.exception("%s failed", name)
            raise GRPCError(
                Status.INTERNAL, f"the local cloud failed in {name} ({type(error).__name__}): python -m local logs"
            ) from error
        finally:
            seconds = time.monotonic() - started
            self.trace.record(task_id or "", name, began, seconds, status)
            log.debug("%s %s %.1f ms %s%s", task_id or "client", name, seconds * 1e3, status, told)

    def _authenticate(self, task_id: str | None, metadata: Mapping[str, Any]) -> Caller:
        version = str(metadata.get("x-modal-client-version", ""))
        request_key = str(metadata.get("x-idempotency-key", ""))
        if task_id is not None:
            return Caller(task_id, version, request_key)
        for key, expected in zip(("x-modal-token-id", "x-modal-token-secret"), self._token, strict=True):
            if not hmac.compare_digest(str(metadata.get(key, "")).encode(), expected.encode()):
                raise Unauthenticated("Token ID or secret unknown to the local cloud: eval $(python -m local env)")
        return Caller(None, version, request_key)


class _Handler:
    def __init__(self, interface: Interface, task_id: str | None) -> None:
        self._interface = interface
        self._task_id = task_id

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            path: grpclib.const.Handler(
                self._bound(path.rsplit("/", 1)[1], entry.cardinality.server_streaming),
                entry.cardinality,
                entry.request_type,
                entry.reply_type,
            )
            for path, entry in _interface().items()
        }

    def _bound(self, name: str, streamed: bool) -> Callable[[Any], Awaitable[None]]:
        async def call(stream: Any) -> None:
            await self._interface.answer(name, self._task_id, streamed, stream)

        return call


_mapping: dict[str, grpclib.const.Handler] | None = None


def _interface() -> dict[str, grpclib.const.Handler]:
    """Paths, types and cardinalities from the SDK's own generated base class (whose methods are all abstract)."""
    global _mapping
    if _mapping is None:
        base = api_grpc.ModalClientBase
        concrete = type("Names", (base,), dict.fromkeys(base.__abstractmethods__))
        _mapping = concrete().__mapping__()
    return _mapping
