"""Middleware inside the engine's own server: the same ASGI that the real servers speak."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.engines.conftest import Engine, Launch

SITE = Path(__file__).parent


@pytest.fixture(scope="module")
def gated(launcher: Launch, kernels: Path) -> Engine:
    """SGLang, started by a module that first adds middleware to its application."""
    running = launcher(kernels=kernels, module="gate_for_tests", site=SITE)
    running.wait_ready()
    return running


def test_an_entry_module_adds_middleware_to_sglang(gated: Engine) -> None:
    answer = gated.request("GET", "/closed")
    assert (answer.status, answer.body) == (418, b"closed")
    assert gated.chat("What is 6 * 7?").json()["choices"][0]["message"]["content"] == "6 * 7 = 42."
    assert gated.chat("hi", stream=True).events()[-1] == "[DONE]"
    assert '"GET /closed HTTP/1.1" 418' in gated.log


def test_sglangs_own_key_check_comes_first(gated: Engine) -> None:
    assert gated.request("GET", "/closed", key=None).json() == {"error": "Unauthorized"}
    assert gated.request("GET", "/key").body == b"True"  # app.server_args.api_key, as in the real one


def test_an_answer_can_be_added_to(gated: Engine) -> None:
    metrics = gated.request("GET", "/metrics", key=None)
    assert metrics.body.decode().endswith("\nadded_by_the_gate 1.0\n")
    assert b"sglang:num_running_reqs" in metrics.body


def test_a_wrong_length_is_an_error_as_with_uvicorn(gated: Engine) -> None:
    # Without a body: one that came after the server had closed the connection would reset it, and the answer with it.
    with pytest.raises(http.client.HTTPException):
        gated.request("GET", "/lie", body=b"")
    assert "RuntimeError: Response content longer than Content-Length" in gated.log
    assert gated.request("GET", "/health").status == 200
