"""A port that somebody else has is noticed before the engine loads for minutes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from serving.errors import ServingError
from serving.loopback import is_taken
from serving.supervisor import Supervisor
from tests.serving.conftest import Stack, free_port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_listener_is_in_the_way_and_a_connection_that_has_ended_is_not(address: str) -> None:
    port = free_port()
    assert not is_taken(port)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        assert is_taken(port)
        with socket.create_connection(("127.0.0.1", port)):
            server_side, _ = listener.accept()
            server_side.close()  # the side that closes first keeps the port in TIME_WAIT
    assert not is_taken(port)


def test_the_engine_is_not_even_started(
    make_stack: Callable[..., Stack], compiled: Callable[[Stack], None], container_environment: dict[str, str]
) -> None:
    stack = make_stack()
    compiled(stack)
    lines: list[str] = []
    arguments: dict[str, Any] = {"environment": container_environment, "out": lines.append}
    supervisor = Supervisor(stack.recipe, stack.commit, stack.key, **arguments)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the compilation's server was here
        listener.bind(("127.0.0.1", stack.recipe.port))
        listener.listen()
        with pytest.raises(ServingError, match=rf"port {stack.recipe.port} of the container is already taken.*Next: "):
            supervisor.start()
    assert not any("--model-path" in line for line in lines)
