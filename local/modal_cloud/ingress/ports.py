"""The fixed port of each endpoint."""

from __future__ import annotations

import hashlib
import socket

_FIRST, _COUNT = 20_000, 12_000
"""Below the range from which systems take ports for outgoing connections (32768 and up on Linux), which could
otherwise occupy an endpoint's port while the emulator is down."""
_CONTAINERS_OWN = {30_000}
"""SGLang's default: containers listen there themselves, and a web endpoint's port is the same inside and outside."""


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1:port. Raises OSError when somebody else has it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def listen_somewhere(name: str, taken: set[int]) -> tuple[int, socket.socket]:
    """A free port that depends on the name, so that endpoints of different clouds rarely want the same one."""
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for offset in range(_COUNT):
        port = _FIRST + (start + offset) % _COUNT
        if port in taken or port in _CONTAINERS_OWN:
            continue
        try:
            return port, listen(port)
        except OSError:
            continue
    raise OSError(f"no free port between {_FIRST} and {_FIRST + _COUNT - 1} for {name}")
