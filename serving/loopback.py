"""HTTP to the engine in the same container: no proxy, no pool, standard library only (imports cost cold-start time)."""

from __future__ import annotations

import http.client
import json
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
    port: int, method: str, path: str, *, payload: Any = None, api_key: str = "", timeout: float = 10
) -> Answer:
    """One request. Raises OSError (refused, reset, timed out) or http.client.HTTPException."""
    headers = {"Accept": "application/json"}
    body = None
    if payload is not None:
        body = json.dumps(payload).encode()
        headers["Content-Type"] = "application/json"
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    finally:
        connection.close()
