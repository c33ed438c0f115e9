"""The cloud's end of a container's control socket (messages: `inside.supervisor`)."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Callable
from typing import Any

_LARGEST_MESSAGE = 1 << 16
_MOST_SOCKETS = 64


class Gone(Exception):
    """The container has ended, or ended before it answered."""


class ControlChannel:
    """Requests to process 1 of a container, and its events. Used on the event loop only."""

    def __init__(self, end: socket.socket, on_event: Callable[[dict[str, Any], list[socket.socket]], None]) -> None:
        end.setblocking(False)
        self._socket = end
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._readable)

    async def request(self, operation: str, **arguments: Any) -> Any:
        """The answer's value, or the socket that came with it. Raises OSError with the errno that it
        had in the container, or Gone."""
        if self._closed:
            raise Gone
        number = next(self._ids)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = answer
        try:
            self._socket.send(json.dumps({"id": number, "op": operation, **arguments}).encode())
            return await answer
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error
        finally:
            self._waiting.pop(number, None)

    def tell(self, operation: str, **arguments: Any) -> None:
        """A request whose answer nobody waits for; no-op once the container has ended."""
        if self._closed:
            return
        try:
            self._socket.send(json.dumps({"id": 0, "op": operation, **arguments}).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close()

    def close(self) -> None:
        """Process 1 ends when it sees this."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Gone())

    def drain(self) -> None:
        """Takes in what the container said last before it died."""
        while not self._closed and self._readable():
            pass

    def _readable(self) -> bool:
        try:
            text, descriptors, _, _ = socket.recv_fds(self._socket, _LARGEST_MESSAGE, _MOST_SOCKETS)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            text, descriptors = b"", []
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if not text:
            self.close()
            return False
        self._take(json.loads(text), sockets)
        return True

    def _take(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        if "event" in message:
            self._on_event(message, sockets)
            return
        answer = self._waiting.get(message["id"])
        if answer is None or answer.done():
            for each in sockets:
                each.close()
        elif "errno" in message:
            answer.set_exception(OSError(message["errno"], f"{message['reason']} ({os.strerror(message['errno'])})"))
        else:
            answer.set_result(sockets[0] if sockets else message["value"])
