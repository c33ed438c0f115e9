"""Messages between the server process and its scheduler: JSON lines over a socket pair."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any


class Channel:
    """The scheduler's end; blocking sends, reads as asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def send(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> Iterator[dict[str, Any]]:
        """The messages that one read brings; raises EOFError when the other end is gone."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def fork(child: Callable[[Channel], int]) -> tuple[int, socket.socket]:
    """Runs `child` in a process of its own, which ends with the status that it returns; the process's id and the
    server's end of the channel."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    ours.close()
    os._exit(child(Channel(theirs)))


def first_word(connection: socket.socket) -> dict[str, float] | None:
    """What the scheduler says once it has loaded; None if it died instead."""
    channel = Channel(connection)
    try:
        while True:
            for message in channel.receive():
                if message["t"] == "ready":
                    return message
    except (EOFError, ConnectionError):
        return None
