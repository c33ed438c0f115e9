"""From no container to as many as are allowed, and back to none: what the SDK and the CLI show on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.arrivals import Arrivals
from tests.modal_cloud.modal_command import modal_command
from tests.modal_cloud.web_apps import WebApp, answers, eventually

pytestmark = pytest.mark.cloud

WINDOW = 3
"""Seconds that a container may be idle."""
DECLARED = {"min": 0, "max": 3, "window": WINDOW, "target": 2, "at_once": 8}
PER_SECOND, EACH_TAKES = 20, 0.5
"""10 requests at once: five containers' worth, of which three may be there."""


@dataclass
class Watched:
    """The numbers of an app's containers, asked for all the time as `modal container list` asks."""

    app: WebApp
    numbers: list[int] = field(default_factory=list)
    none_since: float = 0.0
    """Steady clock; of the last time that the number came to none."""

    def __enter__(self) -> Watched:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            number = len(self.app.containers())
            if number == 0 and self.numbers and self.numbers[-1]:
                self.none_since = time.monotonic()
            self.numbers.append(number)


@pytest.fixture
def app(cloud: LocalCloud) -> Iterator[WebApp]:
    made = WebApp(cloud, f"to-zero-{uuid4().hex[:6]}")
    yield made
    made.stop()


def listed(app: WebApp) -> int:
    """Containers in `modal container list`."""
    return sum(row["app_name"] == app.name for row in json.loads(modal_command("container", "list", "--json")))


@pytest.mark.parametrize("ingress", ["web", "server"])
def test_from_none_to_three_under_load_and_back_to_none(app: WebApp, ingress: str) -> None:
    app.deploy(**DECLARED, ingresses=[ingress])
    url = app.url(ingress)
    settings = app.autoscaler(ingress).settings()
    assert (settings.min_containers or 0, settings.max_containers, settings.scaledown_window) == (0, 3, WINDOW)
    with Watched(app) as watched:
        eventually(lambda: len(watched.numbers) > 5)
        assert set(watched.numbers) == {0}, "nothing starts before the first request"
        if ingress == "server":  # it holds no requests: the first one is refused and starts a container
            assert requests.get(url, timeout=5).status_code == 503
            eventually(lambda: answers(url))
        with Arrivals(f"{url}/slow?seconds={EACH_TAKES}", PER_SECOND) as arrivals:
            eventually(lambda: len(arrivals.tasks) == 3, within=30)
            time.sleep(2 * WINDOW)  # the load goes on for longer than an idle container would stay
            assert listed(app) == 3
            if ingress == "web":
                assert app.web.get_current_stats().num_total_runners == 3
        answered = time.monotonic()
        eventually(lambda: watched.none_since > answered, within=WINDOW + 12)
    assert set(arrivals.codes) == {200}, arrivals.codes
    assert len(arrivals.codes) > 0.9 * PER_SECOND * arrivals.seconds
    assert len(arrivals.tasks) == 3, "none was replaced on the way"
    assert max(watched.numbers) == 3
    peak = watched.numbers.index(3)
    assert watched.numbers[:peak] == sorted(watched.numbers[:peak]), "up"
    assert watched.numbers[peak:] == sorted(watched.numbers[peak:], reverse=True), "and down, once"
    assert watched.none_since - answered > WINDOW - 0.5, "each stays for the window after its last request"
    assert listed(app) == 0
    if ingress == "web":
        assert app.web.get_current_stats().num_total_runners == 0
