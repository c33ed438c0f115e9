"""A container taken away in the middle of its start, as Modal does when it needs the machine: the next one serves."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import modal
import pytest

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import WebApp, eventually, stop_container
from tests.serving.conftest import APP, DICT
from tests.serving.local_apps import Processes, chat, recipe_of_the_test, report_of, serve, url_of

pytestmark = pytest.mark.cloud


def test_a_request_that_waits_for_a_start_is_answered_by_the_next_one(filled: tuple[LocalCloud, str]) -> None:
    cloud, commit = filled
    app = f"{APP}-preempted"
    recipe = recipe_of_the_test(environment={"STANDIN_FAULT": "slow-start:3"})
    serve(cloud, commit, "preempted", recipe=recipe, app=app)
    containers = WebApp(cloud, app).containers
    processes = Processes()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(chat, url_of(app, "web"))
        (first,) = eventually(containers)
        eventually(lambda: _has_an_engine(processes, first))
        assert not waiting.done()
        stop_container(first)  # an interrupt, the exit hooks, the end
        reply = waiting.result()
    assert (reply.status, "4" in reply.text) == (200, True), reply
    ready = report_of("ready/preempted")
    assert ready["container"] in containers() - {first}
    # A smoke test that waits for this release must not take it for one that cannot start.
    assert modal.Dict.from_name(DICT).get("failed/preempted") is None
    processes.wait_gone(first, 10)
    processes.stop()
    cloud.modal("app", "stop", app, "--yes")


def _has_an_engine(processes: Processes, container: str) -> bool:
    try:
        return bool(processes.engine(container))
    except AssertionError:
        time.sleep(0.05)
        return False
