"""The scheduler's loop: continuous batching under the engine's limits, in a process of its own.

The server sends requests (`{"t": "req", "id", "prompt", "new"}`: tokens in, tokens out), aborts and probes; the
scheduler answers each step with `{"t": "out", "o": [[id, tokens], …], "s": stats}`.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from standin.channel import Channel
from standin.environment import fault
from standin.log import log

STEP_SECONDS = 0.006
"""One forward pass of the stand-in; not scaled, so that answers stay quick at any speed."""
PREFILL_TOKENS_PER_SECOND = 400_000


@dataclass
class Limits:
    running: int
    """Requests that decode at once."""
    pool: int
    """Tokens that fit the KV cache."""
    prefill: int
    """Prompt tokens of one prefill batch."""
    page: int
    accept: tuple[int, ...] = (1,)
    """Tokens a step yields per request, in turn: more than one where drafts are accepted."""


@dataclass
class Request:
    id: str
    prompt: int
    new: int
    external: bool
    done: int = 0
    arrived: float = 0.0

    def reserved(self, page: int) -> int:
        return -(-(self.prompt + self.new) // page) * page


@dataclass(frozen=True)
class Prefill:
    """A prefill batch that has run."""

    requests: int
    tokens: int
    paged: int
    """The tokens, each prompt rounded up to whole pages."""
    seconds: float


class RequestFailed(Exception):
    """A request the fault was ordered for."""


class Narrator(Protocol):
    """Puts into the engine's own words what its scheduler did; `stats` as in the scheduler's messages."""

    def prefill(self, batch: Prefill, stats: dict[str, float]) -> None: ...

    def decode(self, requests: int, stats: dict[str, float]) -> None:
        """Now and then, while requests are being decoded."""


class Scheduler:
    def __init__(
        self, channel: Channel, limits: Limits, before_prefill: Callable[[int, int], None], narrator: Narrator | None
    ) -> None:
        """`before_prefill(tokens of the longest prompt, requests running then)` is called before each prefill."""
        self._narrator = narrator
        self._channel = channel
        self._limits = limits
        self._before_prefill = before_prefill
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._external = 0
        self._steps = 0
        self._drafts = 0
        self._generated = 0
        self._window = (time.monotonic(), 0)
        self._throughput = 0.0

    def run(self) -> None:
        """Until the server goes away. Raises what a fault orders."""
        while True:
            busy = bool(self._running or self._waiting)
            readable, _, _ = select.select([self._channel.socket], [], [], 0 if busy else None)
            if readable:
                try:
                    for message in self._channel.receive():
                        self._take(message)
                except (EOFError, ConnectionError):
                    return
            self._admit()
            if self._running:
                self._decode()

    def _take(self, message: dict[str, Any]) -> None:
        match message["t"]:
            case "req":
                request = Request(message["id"], message["prompt"], message["new"], message["external"])
                request.arrived = time.monotonic()
                self._waiting.append(request)
            case "abort":
                self._waiting = deque(r for r in self._waiting if r.id != message["id"])
                self._running = [r for r in self._running if r.id != message["id"]]
                self._send([])
            case "probe":
                self._channel.send({"t": "probe", "id": message["id"], "s": self._stats()})

    def _used(self) -> int:
        return sum(request.reserved(self._limits.page) for request in self._running)

    def _admit(self) -> None:
        batch: list[Request] = []
        tokens, used = 0, self._used()
        while self._waiting and len(self._running) + len(batch) < self._limits.running:
            request = self._waiting[0]
            need = request.reserved(self._limits.page)
            if used + need > self._limits.pool and (self._running or batch):
                break
            if batch and tokens + request.prompt > self._limits.prefill:
                break
            batch.append(self._waiting.popleft())
            tokens += request.prompt
            used += need
        if not batch:
            return
        self._run_faults(batch)
        started = time.monotonic()
        self._before_prefill(max(request.prompt for request in batch), len(self._running) + len(batch))
        time.sleep(tokens / PREFILL_TOKENS_PER_SECOND)
        if self._narrator:
            paged = sum(-(-request.prompt // self._limits.page) * self._limits.page for request in batch)
            self._narrator.prefill(Prefill(len(batch), tokens, paged, time.monotonic() - started), self._stats())
        self._running += batch
        self._send([])

    def _run_faults(self, batch: list[Request]) -> None:
        warmup = any(not request.external for request in batch)
        if warmup and fault("die-at-warmup"):
            raise RequestFailed("Can not import FA3 in sgl_kernel. Please check your installation.")
        for request in batch:
            if not request.external:
                continue
            limit = fault("die-after")
            if fault("die-at-first-request") or (limit and self._external >= limit.argument):
                raise RequestFailed("CUDA error: an illegal memory access was encountered")
            hang = fault("hang-after")
            if hang and self._external >= hang.argument:
                self._running += batch
                self._send([])
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                while True:  # alive, and deaf to everything but SIGKILL, as a stuck collective is
                    signal.pause() if hasattr(signal, "pause") else time.sleep(3600)
            self._external += 1

    def _decode(self) -> None:
        time.sleep(STEP_SECONDS)
        accept = self._limits.accept[self._steps % len(self._limits.accept)]
        self._steps += 1
        self._drafts += len(self._running)
        output = []
        for request in self._running:
            tokens = min(accept, request.new - request.done)
            request.done += tokens
            self._generated += tokens
            output.append([request.id, tokens])
        self._running = [request for request in self._running if request.done < request.new]
        if self._steps % 40 == 0:
            now = time.monotonic()
            since, before = self._window
            self._throughput = (self._generated - before) / max(1e-3, now - since)
            self._window = (now, self._generated)
            if self._narrator:
                self._narrator.decode(len(output), self._stats())
        self._send(output)

    def _accept_length(self) -> float:
        return sum(self._limits.accept) / len(self._limits.accept)

    def _stats(self) -> dict[str, float]:
        idle = not self._running
        return {
            "running": len(self._running),
            "queue": len(self._waiting),
            "pending": sum(request.prompt for request in self._waiting),
            "used": self._used(),
            "throughput": 0.0 if idle else self._throughput,
            "steps": self._steps,
            "drafts": self._drafts,
            "accept": self._accept_length(),
        }

    def _send(self, output: list[list[Any]]) -> None:
        self._channel.send({"t": "out", "o": output, "s": self._stats()})


def name_process(name: str) -> None:
    """The process's name in `ps` and `/proc` (15 characters)."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name[:15])
    except OSError as error:  # only a name: on a kernel without it, the engine works the same
        log(f"cannot name process {os.getpid()}: {error}")
