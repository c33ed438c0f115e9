"""How many containers there are, and which version they run: autoscaler, rolling deploys, crash loops, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import modal
import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.arrivals import Arrivals
from tests.modal_cloud.web_apps import WebApp, answers, ask, eventually, number_of

pytestmark = pytest.mark.cloud
BOTH = pytest.mark.parametrize("ingress", ["web", "server"])
LONG = pytest.mark.long


@pytest.fixture
def app(cloud: LocalCloud) -> Iterator[WebApp]:
    made = WebApp(cloud, f"scaling-{uuid4().hex[:6]}")
    yield made
    made.stop()


class Traffic:
    """Asks all the time, in the background; keeps what came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.codes: list[int] = []
        self.versions: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            response = requests.get(self.url, timeout=60)
            self.codes.append(response.status_code)
            if response.status_code == 200:
                self.versions.append(response.json()["version"])
            time.sleep(0.05)


def printed(app: WebApp) -> str:
    return app.cloud.modal("app", "logs", app.name, timeout=20).stdout


def test_only_demand_that_lasts_adds_containers(app: WebApp) -> None:
    app.deploy(min=1, max=2, window=30, target=1, scaleup=3, ingresses=["server"])
    url = app.url("server")
    eventually(lambda: answers(url))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: answers(f"{url}/slow?seconds=1"), range(2)))
        assert len(app.containers()) == 1
        waiting = pool.map(lambda _: answers(f"{url}/slow?seconds=5"), range(2))
        number_of(app, 2)
        list(waiting)


@BOTH
def test_autoscaler_updates_count_at_once_and_restart_nothing(app: WebApp, ingress: str) -> None:
    declared = {"min": 1, "max": 3, "window": 2, "ingresses": [ingress]}
    app.deploy(**declared)
    url = app.url(ingress)
    first = eventually(lambda: answers(url))["task"]
    number_of(app, 1)
    app.autoscaler(ingress).update(min_containers=2)
    assert app.autoscaler(ingress).settings().min_containers == 2
    more = number_of(app, 2)
    assert first in more
    app.autoscaler(ingress).update(min_containers=1, max_containers=1)
    assert number_of(app, 1) == {first}, "the newest one goes"
    # The next deploy brings the declared numbers back.
    app.autoscaler(ingress).update(min_containers=0)
    app.deploy(**declared)
    assert app.autoscaler(ingress).settings().min_containers == 1


def test_functions_scale_to_zero_and_respect_the_maximum(app: WebApp) -> None:
    app.deploy()
    where = modal.Function.from_name(app.name, "where")
    tasks = {task for task, _ in where.map([()] * 0)} | {where.remote()[0]}
    assert len(tasks) == 1
    eventually(lambda: not app.containers(), within=15)
    assert where.remote()[0] not in tasks


@pytest.mark.parametrize(
    ("ingress", "failure"),
    [pytest.param("web", "cannot enter", marks=LONG), ("server", "waited for its port")],
)
def test_only_a_version_that_gets_ready_takes_over(app: WebApp, ingress: str, failure: str) -> None:
    only = {"min": 1, "ingresses": [ingress]}
    app.deploy(**only)
    url = app.url(ingress)
    before = eventually(lambda: answers(url))
    with Traffic(url) as traffic:
        app.deploy(version="bad", fail=failure.split()[-1], startup=1 if ingress == "server" else 20, **only)
        eventually(lambda: failure in printed(app))
        time.sleep(2.5)  # idle for longer than the scale-down window
        assert answers(url)["task"] == before["task"]
        app.deploy(version="2", enter=1, **only)
        # The old version goes on while the new one gets ready.
        assert answers(url)["version"] == "1"
        eventually(lambda: traffic.versions[-1] == "2")
        time.sleep(0.3)
    assert set(traffic.codes) == {200}
    assert traffic.versions == sorted(traffic.versions), "once the new version answers, the old one doesn't any more"
    assert set(traffic.versions) == {"1", "2"}
    number_of(app, 1)


@pytest.mark.parametrize("ingress", [pytest.param("web", marks=LONG), "server"])
def test_no_request_of_50_a_second_fails_while_another_version_takes_over(app: WebApp, ingress: str) -> None:
    declared = {"min": 2, "max": 2, "ingresses": [ingress]}
    app.deploy(**declared)
    url = app.url(ingress)
    eventually(lambda: answers(url))
    number_of(app, 2)
    with Arrivals(url, per_second=50) as arrivals:
        eventually(lambda: len(arrivals.versions) > 50)
        app.deploy(version="2", **declared)
        eventually(lambda: arrivals.versions[-1] == "2")
        eventually(lambda: arrivals.versions[-100:] == ["2"] * 100)
    assert set(arrivals.codes) == {200}, arrivals.codes
    assert set(arrivals.versions) == {"1", "2"}
    assert len(arrivals.codes) > 0.9 * 50 * arrivals.seconds


def test_requests_under_way_end_in_peace(app: WebApp) -> None:
    """Long answers of the old version are completed while the new one has taken over."""
    app.deploy(min=1)
    url = {ingress: app.url(ingress) for ingress in ("web", "server")}
    eventually(lambda: answers(url["server"]))
    ask(url["web"])
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(ask, url[ingress], "/slow?seconds=10") for ingress in url]
        time.sleep(0.3)
        app.deploy(version="2", min=1)
        for ingress in url:
            eventually(lambda ingress=ingress: answers(url[ingress])["version"] == "2", within=9)
        assert [each.result()["version"] for each in slow] == ["1", "1"]


def test_recreate_ends_the_old_version_first(app: WebApp) -> None:
    only = {"min": 1, "ingresses": ["server"]}
    app.deploy(**only)
    url = app.url("server")
    eventually(lambda: answers(url))
    app.deploy(version="2", strategy="recreate", **only)
    assert eventually(lambda: answers(url))["version"] == "2"
    number_of(app, 1)


def test_a_crash_loop_ends_with_its_reason(app: WebApp) -> None:
    app.deploy(fail="import")
    began = time.monotonic()
    with pytest.raises(Exception, match="this version cannot be imported"):
        modal.Function.from_name(app.name, "where").remote()
    response = requests.get(app.url("web"), timeout=60)
    assert response.status_code == 500
    assert "this version cannot be imported" in response.text
    assert time.monotonic() - began < 30
    assert "cannot be imported" in printed(app)


def test_a_killed_container_is_replaced(app: WebApp) -> None:
    app.deploy(min=1, max=1, ingresses=["server"])
    url = app.url("server")
    first = eventually(lambda: answers(url))["task"]
    app.cloud.modal("container", "stop", "--yes", first, check=False)
    second = eventually(lambda: (found := answers(url)) and found["task"] != first and found)
    assert second["version"] == "1"


def test_stopping_an_app_ends_its_containers_with_their_exit_hooks(cloud: LocalCloud) -> None:
    app = WebApp(cloud, f"stopped-{uuid4().hex[:6]}")
    app.deploy(min=1)
    eventually(lambda: answers(app.url("server")))
    ask(app.url("web"))
    app.stop()
    eventually(lambda: not app.containers())
    assert printed(app).count("left") == 2


@pytest.mark.parametrize("end", [pytest.param("stop", marks=LONG), "kill"])
def test_pools_come_back_after_a_restart(own_cloud: LocalCloud, end: str) -> None:
    app = WebApp(own_cloud, "restarted")
    app.deploy(min=1)
    program = (
        "import modal; print(modal.Server.from_name('restarted', 'Serve').get_url(),"
        " modal.Cls.from_name('restarted', 'Web')().serve.get_web_url())"
    )
    server, web = own_cloud.python(program).stdout.split()
    first = eventually(lambda: answers(server))
    ask(web)
    pids = container_pids(first["task"])
    if end == "kill":
        kill_daemon(own_cloud)
    else:
        own_cloud.stop()
    eventually(lambda: not any(is_running(pid) for pid in pids), within=5)
    own_cloud.start()
    assert own_cloud.python(program).stdout.split() == [server, web]
    second = eventually(lambda: answers(server))
    assert second["task"] != first["task"]
    assert ask(web)["version"] == "1"
    listed = own_cloud.modal("container", "list", "--json").stdout
    assert first["task"] not in listed
    assert second["task"] in listed


def container_pids(task_id: str) -> list[int]:
    """Host pids of all processes that have the task's id in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MODAL_TASK_ID") == task_id:
                found.append(process.pid)
        except psutil.Error:
            continue
    assert found
    return found


def is_running(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid)


def kill_daemon(cloud: LocalCloud) -> None:
    import psutil

    (daemon,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if {"daemon", str(cloud.dir)} <= set(process.info["cmdline"] or [])
    )
    daemon.kill()
    daemon.wait(5)
