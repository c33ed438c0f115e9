"""Ctrl-C, and the end of the CLI, while a provider waits for something that goes on in the cloud.

Pulumi answers the first Ctrl-C by asking every provider to cancel, and then waits for what they do. The provider
process has a process group of its own, so that no signal reaches it, and the SDK's answer to that question is to do
nothing. Here it is to remember that it was asked.

A CLI that is killed leaves its provider process behind, which would go on for ever: beside the next `pulumi up`, whose
app it may roll back. Here it ends with the CLI.
"""

from __future__ import annotations

import os
import select
import sys
import threading

_asked = threading.Event()
_lock = threading.Lock()
_listening = False


def listen() -> None:
    """To be called in the provider process, once or more often; does nothing in any other."""
    global _listening
    servicer = getattr(sys.modules.get("__main__"), "DynamicResourceProviderServicer", None)
    with _lock:
        if servicer is None or _listening:
            return
        _listening = True
    # The gRPC server holds the method itself by now: another one in the class would never be called.
    servicer.Cancel.__code__ = _cancel.__code__
    threading.Thread(target=_end_with_the_cli, name="end-with-the-cli", daemon=True).start()


def asked() -> bool:
    return _asked.is_set()


def _cancel(self, request, context):
    # Runs with the names of the SDK's module: what it needs is imported here.
    from google.protobuf import empty_pb2

    from components import interruption  # noqa: PLW0406

    interruption._asked.set()
    return empty_pb2.Empty()


def _end_with_the_cli() -> None:
    """Standard output is a pipe that the CLI reads; without a reader there is an error to be polled."""
    poll = select.poll()
    poll.register(sys.__stdout__ or 1, 0)
    poll.poll()
    os._exit(1)
