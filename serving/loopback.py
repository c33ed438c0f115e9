"""HTTP to the engine in the same container: no proxy, no pool, standard library only (imports cost cold-start time)."""

from __future__ import annotations

import errno
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        """Raises ValueError where the body is not JSON."""
        return json.loads(self.body)


def request(
    port: int,
    method: str,
    path: str,
    *,
    payload: Any = None,
    api_key: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float = 10,
) -> Answer:
    """One request. Raises OSError (refused, reset, timed out) or http.client.HTTPException."""
    sent = {"Accept": "application/json", **(headers or {})}
    body = None
    if payload is not None:
        body = json.dumps(payload).encode()
        sent["Content-Type"] = "application/json"
    if api_key:
        sent["Authorization"] = f"Bearer {api_key}"
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()


def is_taken(port: int) -> bool:
    """Whether somebody listens on this port of the container, on any of its addresses."""
    with socket.socket() as listener:
        # As the engine does it: connections that are only fading away are not in the way.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False
