"""The calls of a chaos run, each of which knows what is right: import it once the environment names the cloud."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import modal

ABORTED = (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
"""How HTTP says that an answer was not finished."""


DOCUMENTED = (
    modal.exception.ConnectionError,
    modal.exception.InternalError,
    modal.exception.InternalFailure,
    modal.exception.RemoteError,
    modal.exception.ResourceExhaustedError,
    modal.exception.ServiceError,
    *ABORTED,
)
"""What a caller of Modal must be ready for whatever it asks: the service, the connection or the container fails."""


class WrongAnswer(Exception):
    """Neither an error nor what it should be."""


@dataclass
class Outcome:
    kind: str
    number: int
    seconds: float
    error: str = ""
    """Type and first line of what was raised; empty where the answer was right."""
    documented: bool = True
    """The error is one that a caller of Modal must be ready for."""


@dataclass
class Calls:
    """`await one(number)` makes one call and checks its answer; the number says which."""

    web_url: str
    http: aiohttp.ClientSession
    limit: float
    """Seconds after which a call counts as hanging."""
    kinds: list[tuple[str, Callable[[int], Awaitable[None]]]] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = [
            ("remote", self._remote),
            ("generator", self._generator),
            ("map", self._map),
            ("spawn", self._spawn),
            ("class", self._class),
            ("dict", self._dict),
            ("volume", self._volume),
            ("web", self._web),
            ("exception", self._exception),
            ("retry", self._retry),
        ]

    async def one(self, number: int) -> Outcome:
        kind, call = self.kinds[number % len(self.kinds)]
        outcome = Outcome(kind, number, 0.0)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.limit) as limit:
                await call(number)
        except Exception as error:
            hung = limit.expired()
            outcome.error = f"no end after {self.limit:.0f} s" if hung else _words(error)
            outcome.documented = not hung and isinstance(error, DOCUMENTED)
        outcome.seconds = time.monotonic() - began
        return outcome

    async def _remote(self, number: int) -> None:
        _same(await _function("square").remote.aio(number), number * number)

    async def _generator(self, number: int) -> None:
        _same([item async for item in _function("count").remote_gen.aio(number % 7)], list(range(number % 7)))

    async def _map(self, number: int) -> None:
        inputs = range(number, number + 5)
        _same([item async for item in _function("square").map.aio(inputs)], [x * x for x in inputs])

    async def _spawn(self, number: int) -> None:
        call = await _function("square").spawn.aio(number)
        again = modal.FunctionCall.from_id(call.object_id)
        _same(await again.get.aio(), number * number)

    async def _class(self, number: int) -> None:
        scale = modal.Cls.from_name("chaos", "Scale")(factor=5)
        _same(await scale.times.remote.aio(number), number * 5)

    async def _dict(self, number: int) -> None:
        notes = modal.Dict.from_name("chaos-notes")
        await notes.put.aio(f"note {number}", number)
        _same(await notes.get.aio(f"note {number}"), number)
        _same(await notes.contains.aio(f"note {number} of nobody"), False)

    async def _volume(self, number: int) -> None:
        text = f"{number} " * 1000
        _same(await _function("keep").remote.aio(f"file-{number}", text), len(text))
        content = b""
        async for piece in modal.Volume.from_name("chaos-files").read_file.aio(f"file-{number}"):
            content += piece
        _same(content.decode(), text)

    async def _web(self, number: int) -> None:
        async with self.http.get(f"{self.web_url}/{number}") as response:
            text = await response.text()
        if response.status in (500, 502, 503, 504) and text.startswith("modal-http: "):
            raise modal.exception.RemoteError(f"HTTP {response.status} {text}")
        _same((response.status, text), (200, f"square={number * number}"))

    async def _exception(self, number: int) -> None:
        try:
            answer = await _function("refuse").remote.aio(number)
        except KeyError as error:
            _same(error.args, (f"no {number}",))
        else:
            raise WrongAnswer(f"{answer!r} instead of the function's own exception")

    async def _retry(self, number: int) -> None:
        _same(await _function("second_try").remote.aio(f"call-{number}"), f"call-{number}")


def _function(name: str) -> modal.Function:
    return modal.Function.from_name("chaos", name)


def _same(answer: object, right: object) -> None:
    if answer != right:
        raise WrongAnswer(f"{answer!r:.200} instead of {right!r:.200}")


def _words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"
