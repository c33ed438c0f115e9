"""What becomes of a container whose engine fails, before and after it was ready, and what clients see meanwhile.

Two apps, one behind each ingress, live through everything at the same time: version after version that cannot get
ready, one that can, then crashes and hangs of that one. A client asks each of them all along.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from serving.recipe import Recipe
from tests.local_cloud import LocalCloud
from tests.serving.conftest import APP
from tests.serving.local_apps import Client, Processes, Reply, recipe_of_the_test, report_of, serve_quickly, url_of

pytestmark = pytest.mark.cloud

HANG_SECONDS = 2.0
MONITOR_SECONDS = 0.5
GONE_SECONDS = 6.0
"""From the moment a container knows that it must end to its last process gone; on a busy machine."""


@dataclass(frozen=True)
class Broken:
    """A version that cannot get ready."""

    name: str
    why: str
    """What the container reports."""
    seconds: float
    """Within which a deadline of its recipe makes it give up, the engine's start not counted."""
    fault: str = ""
    deadlines: dict[str, float] = field(default_factory=dict)

    def recipe(self, cloud: LocalCloud) -> Recipe:
        changes: dict[str, Any] = {"environment": {"STANDIN_FAULT": self.fault}, "deadlines": self.deadlines}
        if self.name == "port taken":
            # The container reaches the Hub on a port of its own loopback: there somebody listens already.
            changes["port"] = urlsplit(cloud.env["HF_ENDPOINT"]).port
        return recipe_of_the_test(**changes)


BROKEN = {
    "web": [
        Broken("crash", r"SGLang died while starting .*Next: ", 0, "die-at-load"),
        Broken("OOM-kill", r"code -9: SIGKILL, usually the OOM killer", 0, "oom-at-load"),
        Broken("failed warm-up", r"warm-up 1/\d+ \(.*\) failed: an empty message", 0, "empty-answer"),
    ],
    "server": [
        Broken("port taken", r"port \d+ of the container is already taken.*Next: ", 0),
        Broken("slow load", r"not healthy within 2 s: nothing listens", 2, "slow-start:60", {"health": 2}),
        Broken("hang", r"warm-up .* no answer within 2 s", 2, "hang-after:0", {"warmupRequest": 2}),
    ],
}


def kill_engine(server: int, scheduler: int) -> None:
    os.kill(server, signal.SIGKILL)


def crash_engine(server: int, scheduler: int) -> None:
    os.kill(server, signal.SIGSEGV)


def kill_worker(server: int, scheduler: int) -> None:
    os.kill(scheduler, signal.SIGKILL)


def stop_worker(server: int, scheduler: int) -> None:
    os.kill(scheduler, signal.SIGSTOP)


Injection = Callable[[int, int], None]

INJECTED: dict[str, list[tuple[str, Injection, float]]] = {
    "web": [("OOM-kill", kill_engine, 0), ("hang", stop_worker, HANG_SECONDS + 2 * MONITOR_SECONDS)],
    "server": [("crash", crash_engine, 0), ("OOM-kill of a worker", kill_worker, 0)],
}
"""What happens to a warm engine, and after how many seconds the container is to know."""


@dataclass
class Fate:
    """How one fault ended. Times are of time.time()."""

    name: str
    report: dict[str, Any] | None = None
    began: float = 0.0
    known: float = 0.0
    gone: float = 0.0
    answered: float = 0.0
    """The first answer after the container was gone."""


@dataclass
class Life:
    fates: list[Fate]
    replies: list[Reply]
    ready: float
    """When the first version that works was warm."""
    log: str


def live(cloud: LocalCloud, commit: str, ingress: str, processes: Processes) -> Life:
    app = f"{APP}-faults-{ingress}"
    fates: list[Fate] = []
    client: Client | None = None
    try:
        for broken in BROKEN[ingress]:
            release = f"{broken.name.replace(' ', '-')}-{ingress}"
            serve_quickly(cloud, commit, release, recipe=broken.recipe(cloud), app=app, ingress=ingress)
            fate = Fate(broken.name, began=time.time())
            client = client or Client(url_of(app, ingress))
            fate.report = report_of(f"failed/{release}")
            fate.known = fate.report["at"]
            processes.wait_gone(fate.report["container"], GONE_SECONDS)
            fate.gone = time.time()
            fates.append(fate)
        release = f"mended-{ingress}"
        deadlines = {"hang": HANG_SECONDS, "monitorInterval": MONITOR_SECONDS}
        serve_quickly(cloud, commit, release, recipe=recipe_of_the_test(deadlines=deadlines), app=app, ingress=ingress)
        assert client is not None
        ready = _answering(client, release)["at"]
        for name, inject, seconds in INJECTED[ingress]:
            fates.append(_hit(client, processes, f"ready/{release}", name, inject, seconds))
    finally:
        replies = client.stop() if client else []
        log = cloud.modal("app", "logs", app, "--tail", "5000").stdout
        cloud.modal("app", "stop", app, "--yes")
    return Life(fates, replies, ready, log)


def _answering(client: Client, release: str) -> dict[str, Any]:
    """The container's report that it is ready, once it answers."""
    report = report_of(f"ready/{release}")
    _wait(lambda: client.replies and client.replies[-1].status == 200, 20, f"{release} does not answer")
    return report


def _hit(client: Client, processes: Processes, key: str, name: str, inject: Injection, seconds: float) -> Fate:
    """The fault, and all until a new container answers."""
    task = report_of(key)["container"]
    pids = processes.engine(task)
    fate = Fate(name, began=time.time())
    inject(*pids)
    processes.wait_gone(task, seconds + GONE_SECONDS)
    fate.gone = time.time()
    _wait(
        lambda: client.replies[-1].status == 200 and client.replies[-1].asked > fate.began, 20, f"nobody after {name}"
    )
    fate.answered = client.replies[-1].answered
    _wait(lambda: report_of(key)["container"] != task, 5, "no new container")
    return fate


def _wait(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lives(filled: tuple[LocalCloud, str]) -> Iterator[dict[str, Future[Life]]]:
    processes = Processes()
    with ThreadPoolExecutor() as pool:
        yield {ingress: pool.submit(live, *filled, ingress, processes) for ingress in BROKEN}
    processes.stop()


@pytest.fixture(params=["web", "server"])
def lived(request: pytest.FixtureRequest, lives: dict[str, Future[Life]]) -> tuple[str, Life]:
    return request.param, lives[request.param].result()


def test_a_container_that_cannot_get_ready_says_why_and_is_gone_in_time(lived: tuple[str, Life]) -> None:
    ingress, life = lived
    for broken, fate in zip(BROKEN[ingress], life.fates, strict=False):
        assert fate.report is not None
        assert re.search(broken.why, fate.report["error"]), fate.report["error"]
        # From the deploy: a container's and an engine's start, the deadline, the end.
        assert fate.gone - fate.began < broken.seconds + 20
        assert fate.gone - fate.known < GONE_SECONDS


def test_nobody_gets_an_answer_from_a_version_that_is_not_ready(lived: tuple[str, Life]) -> None:
    ingress, life = lived
    early = [reply for reply in life.replies if reply.answered <= life.ready]
    if ingress == "server":
        assert {reply.status for reply in early} == {503}
        assert len(early) > 10
    else:
        assert early == [], "requests wait"
        assert life.replies[0].asked < life.ready - 3
        assert life.replies[0].status == 200, "and the one that waited through three broken versions is answered"


def test_a_warm_engine_that_crashes_or_hangs_is_replaced_in_time(lived: tuple[str, Life]) -> None:
    ingress, life = lived
    injected = INJECTED[ingress]
    for (name, _, seconds), fate in zip(injected, life.fates[-len(injected) :], strict=True):
        assert fate.name == name
        assert fate.gone - fate.began < seconds + GONE_SECONDS
        assert fate.answered - fate.gone < 20


def test_clients_get_503_or_wait_and_then_answers(lived: tuple[str, Life]) -> None:
    ingress, life = lived
    after = [reply for reply in life.replies if reply.asked > life.ready]
    # Requests that the dying container had in hand are lost (502, at `web` 500); no connection is ever refused.
    allowed = {200, 502, 503} if ingress == "server" else {200, 500, 502}
    assert {reply.status for reply in after} <= allowed
    for fate in life.fates[-len(INJECTED[ingress]) :]:
        meanwhile = [reply for reply in after if fate.gone < reply.asked and reply.answered < fate.answered]
        assert {reply.status for reply in meanwhile} <= ({503} if ingress == "server" else {200})
        if ingress == "server":
            assert meanwhile
    assert after[-1].status == 200


def test_the_log_tells_what_happened(lived: tuple[str, Life]) -> None:
    ingress, life = lived
    if ingress == "web":
        assert "[monitor] FATAL: SGLang died (code -9)" in life.log
        assert re.search(r"\[monitor\] FATAL: SGLang hangs \(requests in hand, no progress for \d+ s\)", life.log)
    else:
        assert "[monitor] FATAL: SGLang died (code -11)" in life.log
        assert re.search(r"its process scheduler_0 died with code -9 \(SIGKILL, usually the OOM killer", life.log)
    assert life.log.count("[startup] FATAL: ") >= len(BROKEN[ingress])
