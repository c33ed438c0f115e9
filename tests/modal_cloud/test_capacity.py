"""GPU fallback lists, what functions with GPUs cannot have, and requests that stay with one container."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import modal
import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import WebApp, answers, ask, eventually, stop_container

pytestmark = pytest.mark.cloud


@pytest.fixture
def app(cloud: LocalCloud) -> Iterator[WebApp]:
    made = WebApp(cloud, f"capacity-{uuid4().hex[:6]}")
    yield made
    made.stop()
    (cloud.dir / "gpus-taken").unlink(missing_ok=True)


def test_a_container_gets_the_first_gpu_of_the_list_that_is_free(app: WebApp) -> None:
    taken = app.cloud.dir / "gpus-taken"
    app.deploy(gpu=["H200:8", "B200:8"], ingresses=["server"], window=60)
    url = app.url("server")

    def replaced() -> str:
        """The GPUs of the container that comes in the place of the one there is."""
        (before,) = app.containers()
        stop_container(before)
        return eventually(lambda: (found := answers(url)) and found["task"] != before and found)["gpu"]

    assert eventually(lambda: answers(url))["gpu"] == "H200:8"
    taken.write_text("H200\n")
    assert answers(url)["gpu"] == "H200:8", "what runs goes on"
    assert replaced() == "B200:8"
    taken.write_text("H200 B200\n")
    assert replaced() == "H200:8", "nothing is ever refused"


def test_functions_with_gpus_can_be_preempted_always(app: WebApp) -> None:
    with pytest.raises(modal.exception.InvalidError, match="nonpreemptible is not supported for GPU Functions"):
        app.deploy(gpu=["H200:8", "B200:8"], nonpreemptible=True, ingresses=["web"])
    app.deploy(nonpreemptible=True, ingresses=["web"])
    assert ask(app.url("web"))["gpu"] is None


def test_there_are_no_snapshots_of_several_gpus(app: WebApp) -> None:
    with pytest.raises(modal.exception.InvalidError, match="not supported for Functions with more than one GPU"):
        app.deploy(gpu="H200:8", gpu_snapshot=True, ingresses=["server"])


@pytest.mark.parametrize("ingress", ["web", "server"])
def test_the_routing_region_stays_as_long_as_the_app(app: WebApp, ingress: str) -> None:
    app.deploy(routing="eu-west", ingresses=[ingress])
    with pytest.raises(modal.exception.InvalidError, match=r"routing region of '.*' cannot be changed"):
        app.deploy(routing="us-east", ingresses=[ingress])
    app.stop()
    app.deploy(routing="us-east", ingresses=[ingress])


def test_requests_of_one_session_go_to_one_container(app: WebApp) -> None:
    app.deploy(min=2, max=2, ingresses=["server"])
    url = app.url("server")
    sessions = [f"conversation-{number}" for number in range(24)]

    def homes() -> set[str]:
        """The containers that answered so far, one for each session."""
        found = (answers_session(url, name) for name in sessions)
        return {answer["task"] for answer in found if answer}

    eventually(lambda: len(homes()) == 2)  # both are up, and sessions are spread over them
    first = {name: answers_session(url, name)["task"] for name in sessions}
    again = {name: answers_session(url, name)["task"] for name in reversed(sessions)}
    assert first == again


def answers_session(url: str, session: str) -> Any:
    response = requests.get(url, headers={"Modal-Session-ID": session}, timeout=30)
    return response.json() if response.status_code == 200 else None
