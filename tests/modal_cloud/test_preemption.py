"""Containers that are preempted: a notice, a grace, the end; what they did is done by another container."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import modal
import pytest
import requests

from local.faults import Faults
from tests.local_cloud import LocalCloud
from tests.modal_cloud.modal_command import modal_command
from tests.modal_cloud.web_apps import eventually

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module", autouse=True)
def app(cloud: LocalCloud) -> Iterator[None]:
    modal_command("deploy", "-m", "tests.modal_cloud.apps.preempted_app")
    yield
    modal_command("app", "stop", "preempted", "--yes")


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Faults]:
    ordering = Faults.of(cloud.dir)
    yield ordering
    ordering.clear()


@pytest.fixture
def name() -> str:
    return uuid4().hex[:8]


def noted(key: str) -> list[str]:
    """The containers that have noted this."""
    found: list[str] = modal.Dict.from_name("preempted-notes", create_if_missing=True).get(key, [])
    return found


def train(name: str, steps: int) -> modal.FunctionCall[int]:
    call: modal.FunctionCall[int] = modal.Cls.from_name("preempted", "Job")().train.spawn(name, steps)
    return call


def hits(faults: Faults) -> list[int]:
    return [fault["hits"] for fault in faults.listed()]


def test_the_input_goes_on_in_another_container(faults: Faults, name: str) -> None:
    call = train(name, 30)
    eventually(lambda: noted(f"{name} begun"))
    time.sleep(0.5)
    faults.preempt("preempted/Job*")
    assert 0 < call.get(timeout=30) < 30, "the second container goes on where the first one was"
    first, second = noted(f"{name} begun")
    assert first != second
    assert noted(f"{name} interrupted") == [first]
    assert first in noted(f"{name} left"), "its exit handler has run"
    assert hits(faults) == [1]
    assert f"container {first} is preempted: interrupted now, killed in 30 s" in modal_command(
        "app", "logs", "preempted"
    )


def test_any_number_of_preemptions_is_no_failure_and_no_retry(faults: Faults, name: str) -> None:
    """The function has no retries, and an input under which three containers die fails."""
    call = train(name, 30)
    for number in range(1, 6):
        eventually(lambda number=number: len(noted(f"{name} begun")) == number)
        time.sleep(0.3)
        faults.preempt("preempted/Job*")
    assert call.get(timeout=30) > 0
    assert hits(faults) == [1] * 5
    assert len(set(noted(f"{name} begun"))) == 6
    assert len(noted(f"{name} interrupted")) == 5


def test_a_container_that_does_not_listen_is_killed(faults: Faults, name: str) -> None:
    faults.preempt("preempted/deaf", at="input", delay=3, grace=1)
    answered = modal.Function.from_name("preempted", "deaf").remote(name)
    first, second = noted(f"{name} begun")
    assert answered == second
    assert noted(f"{name} interrupted") == [first]
    assert "killed: it had not ended 1 s after it was told to" in modal_command("container", "logs", first)


def test_what_is_nonpreemptible_stays(faults: Faults, name: str) -> None:
    faults.preempt("preempted/kept", at="input")
    call = modal.Function.from_name("preempted", "kept").spawn(name)
    eventually(lambda: noted(f"{name} begun"))
    faults.preempt("preempted/kept")
    assert [call.get(timeout=30)] == noted(f"{name} begun")
    assert hits(faults) == [0, 0]


def test_a_server_is_replaced_and_the_command_says_what_is_ordered(faults: Faults, cloud: LocalCloud) -> None:
    url = modal.Server.from_name("preempted", "Files").get_url()

    def server() -> str | None:
        response = requests.get(f"{url}/task", timeout=10)
        return response.text if response.status_code == 200 else None

    first = eventually(server)
    words = ["fault", "preempt", "preempted/Files", "--grace", "5"]
    ordered = json.loads(cloud.run([sys.executable, "-m", "local", *words]).stdout)
    assert {**ordered, "id": 0} == {
        **{"id": 0, "kind": "preempt", "container": "preempted/Files", "grace": 5.0},
        **{"times": 1, "hits": 1},
    }
    eventually(lambda: (found := server()) and found != first)
    assert first in noted("files left")
