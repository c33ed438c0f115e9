"""Requests that come while containers start, through both ingresses: cold starts and roll-overs.

None is refused, none is answered before a container's warm-up has ended; at the `web` ingress they wait, at `server`
they get 503 while there is nobody to answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from serving.params import Scaling
from tests.local_cloud import LocalCloud
from tests.serving.conftest import APP
from tests.serving.local_apps import Client, Reply, recipe_of_the_test, report_of, serve_quickly, url_of

pytestmark = pytest.mark.cloud

LOAD_SECONDS = 2
"""How much longer the engine takes to load: time for traffic to go wrong in."""
CLIENTS = 8


@dataclass
class Flooded:
    """What clients got that never stopped asking, from the first deploy's end until the second version is ready."""

    replies: list[Reply]
    cold: dict[str, Any]
    """The first version's report that it is ready."""
    rolled: dict[str, Any]
    """The second's."""


def flood(cloud: LocalCloud, commit: str, ingress: str) -> Flooded:
    app = f"{APP}-flood-{ingress}"
    recipe = recipe_of_the_test(environment={"STANDIN_FAULT": f"slow-start:{LOAD_SECONDS}"})

    def deploy(release: str) -> None:
        scaling = Scaling(max_containers=2, target_concurrency=2 * CLIENTS)
        serve_quickly(cloud, commit, f"{release}-{ingress}", recipe=recipe, app=app, ingress=ingress, scaling=scaling)

    deploy("cold")
    url = url_of(app, ingress)
    clients = [Client(url, pause=0.1) for _ in range(CLIENTS)]
    try:
        cold = report_of(f"ready/cold-{ingress}")
        wait_for_answer(clients, "cold")  # a container that Modal does not know to be ready would be given up
        deploy("rolled")
        rolled = report_of(f"ready/rolled-{ingress}")
        wait_for_answer(clients, "rolled")
    finally:
        replies = [reply for client in clients for reply in client.stop()]
        cloud.modal("app", "stop", app, "--yes")
    return Flooded(replies, cold, rolled)


def wait_for_answer(clients: list[Client], release: str) -> None:
    deadline = time.monotonic() + 15
    while not any(client.replies[-1:] and client.replies[-1].release.startswith(release) for client in clients):
        assert time.monotonic() < deadline, f"{release} never answered"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def floods(filled: tuple[LocalCloud, str]) -> Iterator[dict[str, Future[Flooded]]]:
    """Both ingresses at the same time."""
    with ThreadPoolExecutor() as pool:
        yield {ingress: pool.submit(flood, *filled, ingress) for ingress in ("web", "server")}


@pytest.fixture(params=["web", "server"])
def flooded(request: pytest.FixtureRequest, floods: dict[str, Future[Flooded]]) -> Flooded:
    return floods[request.param].result()


# Seen to fail, all but the first, for both ingresses: with `self._supervisor.start()` of serving/apps/server.py moved
# into a thread that @modal.enter starts without waiting for it. Both ingresses then route as soon as the port answers.


def test_nobody_is_refused(flooded: Flooded) -> None:
    statuses = Counter(reply.status for reply in flooded.replies)
    assert set(statuses) <= {200, 503}, statuses
    assert statuses[200] > CLIENTS


def test_no_answer_comes_before_the_warm_up_has_ended(flooded: Flooded) -> None:
    for report, release in ((flooded.cold, "cold"), (flooded.rolled, "rolled")):
        answers = [reply for reply in flooded.replies if reply.release.startswith(release)]
        assert answers
        assert min(reply.answered for reply in answers) > report["at"]


def test_the_warm_up_has_the_engine_for_itself(floods: dict[str, Future[Flooded]]) -> None:
    # What the engine has answered by the time it is ready, as it counts: always the same, as nobody else is among it.
    both = [flooded.result() for flooded in floods.values()]
    assert len({report["requests"] for flooded in both for report in (flooded.cold, flooded.rolled)}) == 1


def test_while_nobody_can_answer_web_waits_and_server_says_503(
    floods: dict[str, Future[Flooded]],
) -> None:
    web, server = floods["web"].result(), floods["server"].result()
    early = [reply for reply in web.replies if reply.asked < web.cold["at"] - 1]
    assert {reply.status for reply in web.replies} == {200}
    assert len(early) == CLIENTS, "each waits with its first request"
    before = [reply for reply in server.replies if reply.answered <= server.cold["at"]]
    assert {reply.status for reply in before} == {503}
    assert len(before) > CLIENTS
    assert max(reply.answered - reply.asked for reply in before) < 2


def test_during_a_roll_over_the_old_version_answers(flooded: Flooded) -> None:
    start, end = flooded.cold["at"] + 1, flooded.rolled["at"]
    during = [reply for reply in flooded.replies if start < reply.asked and reply.answered < end]
    assert {(reply.status, reply.release.split("-")[0]) for reply in during} == {(200, "cold")}
    assert len(during) > CLIENTS
