"""Messages between the server process and its scheduler: JSON lines over a socket pair."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
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
