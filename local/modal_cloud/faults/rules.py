"""What can be ordered. Each kind is a dataclass; its JSON form is the fields plus `kind`.

Names are shell patterns (`Volume*`, `my-app/*`), compared with the whole name. A rule hits the next `times` things that
it matches (None: until it is cleared), after it has let `skip` of them through; with a `share` below 1 it hits each of
them with that probability, by dice that the `seed` makes fall alike each time.
"""

from __future__ import annotations

import dataclasses
import random
import types
import typing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from grpclib import Status


@dataclass(kw_only=True)
class Rule:
    times: int | None = 1
    skip: int = 0
    share: float = 1.0
    seed: int = 0
    id: int = 0
    hits: int = 0
    """Things that it happened to so far."""
    seen: int = 0

    def hit(self) -> bool:
        """One more matching thing comes by: whether it is hit, and if so it counts."""
        self.seen += 1
        if self.seen <= self.skip or self.spent:
            return False
        if self.share < 1 and random.Random(f"{self.seed} {self.seen}").random() >= self.share:
            return False
        self.hits += 1
        return True

    @property
    def spent(self) -> bool:
        return self.times is not None and self.hits >= self.times

    def check(self) -> None:
        """Raises ValueError for fields that don't go together."""
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1, or null for until it is cleared")
        if not 0 < self.share <= 1:
            raise ValueError("share must be above 0 and at most 1")


@dataclass(kw_only=True)
class RpcFault(Rule):
    """An RPC waits `delay` seconds, then fails with `status` and `message`, or its connection is cut. With neither
    status nor drop it is only late."""

    rpc: str = "*"
    contains: str = ""
    """Only requests with this text in them (their protobuf text form), such as an app's name."""
    caller: Literal["any", "client", "container"] = "any"
    status: str = ""
    """Name of a gRPC status, such as UNAVAILABLE."""
    message: str = ""
    retry_after: float | None = None
    """Seconds after which the SDK is asked to try again by itself, as Modal does when it limits a rate."""
    delay: float = 0.0
    drop: Literal["", "request", "answer"] = ""
    """Cut the connection before the call took effect, or after it did."""

    def check(self) -> None:
        super().check()
        if self.status and self.status not in Status.__members__:
            raise ValueError(f"status must be one of {', '.join(Status.__members__)}")
        if self.status == "OK":
            raise ValueError("status OK is no failure")
        if self.status and self.drop:
            raise ValueError("an RPC either fails with a status or is dropped")
        if not (self.status or self.drop or self.delay):
            raise ValueError("give a status, drop or delay: otherwise nothing happens to the RPC")
        if self.retry_after is not None and not self.status:
            raise ValueError("retry_after goes with a status")

    def matches(self, name: str, request: object, from_container: bool) -> bool:
        if self.caller != "any" and (self.caller == "container") != from_container:
            return False
        return fnmatchcase(name, self.rpc) and (not self.contains or self.contains in str(request))


PHASES = ("start", "ready", "input", "output", "commit", "stop")


@dataclass(kw_only=True)
class ContainerKill(Rule):
    """SIGKILL to everything in a container when it starts (its process runs), is ready, takes an input, is about to
    hand in an output or to commit a volume, or is told to stop; `delay` seconds after that."""

    container: str = "*"
    """APP/FUNCTION."""
    at: Literal["start", "ready", "input", "output", "commit", "stop"] = "start"
    delay: float = 0.0


@dataclass(kw_only=True)
class ContainerPreemption(Rule):
    """A container is taken away as Modal does it: it is interrupted (SIGINT; a server gets SIGTERM), has `grace`
    seconds for its exit handlers and is then killed. Its inputs go to another container, and nothing is counted against
    them. It happens to those that run now, or else to the next one that is ready; or when one starts, is ready or takes
    an input; `delay` seconds after that. Never to nonpreemptible functions."""

    container: str = "*"
    """APP/FUNCTION."""
    at: Literal["now", "start", "ready", "input"] = "now"
    delay: float = 0.0
    grace: float = 30.0

    def matches(self, moment: str, container: str) -> bool:
        """`moment` is one of a container's life."""
        return moment == (self.at if self.at != "now" else "ready") and fnmatchcase(container, self.container)


@dataclass(kw_only=True)
class HeartbeatLoss(Rule):
    """A container's heartbeats go unanswered; after `seconds` the cloud takes it for lost, ends it and gives its
    inputs to another. For functions and web endpoints (a server's process sends none)."""

    container: str = "*"
    seconds: float = 2.0


@dataclass(kw_only=True)
class ImageFault(Rule):
    """A layer whose commands contain `match` fails to build."""

    match: str = ""
    message: str = "command failed with exit status 1"


@dataclass(kw_only=True)
class GpuFleet(Rule):
    """Only `total` GPUs of this type exist, those in use included: containers that find none wait, and say so."""

    gpu: str = ""
    total: int = 0
    times: int | None = None

    def check(self) -> None:
        super().check()
        if not self.gpu:
            raise ValueError("gpu must name a type, such as H200")


@dataclass(kw_only=True)
class VolumeFault(Rule):
    """A volume is slow (each of its RPCs takes `delay` seconds more), or full: in each container that starts from then
    on `free` more bytes can be written, then ENOSPC; larger uploads are refused. What such a container has not
    committed when it dies is lost."""

    volume: str = "*"
    """Its name."""
    delay: float = 0.0
    free: int | None = None
    times: int | None = None

    def check(self) -> None:
        super().check()
        if self.free is None and not self.delay:
            raise ValueError("give delay (slow) or free (full)")


KINDS: dict[str, type[Rule]] = {
    "rpc": RpcFault,
    "kill": ContainerKill,
    "preempt": ContainerPreemption,
    "heartbeat": HeartbeatLoss,
    "image": ImageFault,
    "gpus": GpuFleet,
    "volume": VolumeFault,
}
_OWN = ("id", "hits", "seen")


def parse(document: dict[str, Any]) -> Rule:
    """Raises ValueError saying what is wrong."""
    kind = KINDS.get(str(document.get("kind")))
    if kind is None:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    hints = typing.get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind) if field.name not in _OWN]
    for name, value in document.items():
        if name == "kind":
            continue
        if name not in known:
            raise ValueError(f"unknown field {name}; known: {', '.join(known)}")
        if not _fits(value, hints[name]):
            raise ValueError(f"{name}: {value!r} is not {_words(hints[name])}")
    rule = kind(**{name: value for name, value in document.items() if name != "kind"})
    rule.check()
    return rule


def to_json(rule: Rule) -> dict[str, Any]:
    """The rule and its count of hits; fields left at their defaults are left out."""
    kind = next(name for name, cls in KINDS.items() if type(rule) is cls)
    fields = {
        field.name: getattr(rule, field.name)
        for field in dataclasses.fields(rule)
        if field.name not in _OWN and getattr(rule, field.name) != field.default
    }
    return {"id": rule.id, "kind": kind, **fields, "times": rule.times, "hits": rule.hits}


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, each) for each in typing.get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(repr(each) for each in typing.get_args(hint))}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_words(each) for each in typing.get_args(hint))
    return {str: "text", int: "a whole number", float: "a number", types.NoneType: "null"}.get(hint, str(hint))
