"""What the scheduled functions do, without Modal: the end of a schedule, a spent budget, the ping."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serving import warm_count
from serving.clockwork import ScheduleParams
from serving.errors import ServingError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class FakeModal:
    """A live autoscaler and what the spend check has left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.live = 0
        self.held: dict[str, Any] | None = None
        monkeypatch.setattr(warm_count, "Autoscaler", lambda app, ingress: self)
        monkeypatch.setattr(warm_count, "SpendHold", lambda app: self)

    def update(self, min_containers: int) -> bool:
        before, self.live = self.live, min_containers
        return before != min_containers

    def get(self) -> dict[str, Any] | None:
        return self.held


@pytest.fixture
def modal(monkeypatch: pytest.MonkeyPatch) -> FakeModal:
    return FakeModal(monkeypatch)


def params(**more: Any) -> ScheduleParams:
    schedule = {
        "timezone": "Europe/Berlin",
        "changes": [{"cron": "0 8 * * *", "minContainers": 2}, {"cron": "0 20 * * *", "minContainers": 0}],
    }
    document = {"app": "a-schedule", "servingApp": "a", "ingress": "web", "minContainers": 1, "schedule": schedule}
    if until := more.pop("until", None):
        schedule["until"] = until
    return ScheduleParams.model_validate({**document, **more})


def test_the_newest_change_holds_and_it_is_safe_to_repeat(modal: FakeModal, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm_count.apply(params(), NOW) == 2
    assert warm_count.apply(params(), NOW) == 2
    assert modal.live == 2
    assert capsys.readouterr().out.splitlines() == [
        "schedule (Europe/Berlin): minContainers 2 from now on",
        "schedule (Europe/Berlin): minContainers 2 holds already",
    ]


def test_a_start_a_moment_too_early_counts_as_on_time(modal: FakeModal) -> None:
    assert warm_count.apply(params(), datetime(2026, 11, 23, 18, 59, 58, tzinfo=UTC)) == 0


def test_after_its_end_the_configured_count_holds_and_it_says_so(
    modal: FakeModal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert warm_count.apply(params(until="2026-11-24"), NOW) == 2
    assert warm_count.apply(params(until="2026-11-23"), NOW) == 1
    assert modal.live == 1
    assert "schedule: ended on 2026-11-23, scaling.minContainers holds: minContainers 1" in capsys.readouterr().out


def test_a_spent_budget_comes_first(modal: FakeModal) -> None:
    modal.held = {"since": "2026-11-20T10:10+00:00", "limit": 25000.0, "spent": 25010.0}
    warm_count.apply(params(), NOW)
    assert modal.live == 0
    assert warm_count.ping(params(url="http://127.0.0.1:1")) == 0


STATUSES = {"/up/health": 200, "/starting/health": 503, "/gone/health": 404}


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(STATUSES[self.path])
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_ping_tells_what_it_met(modal: FakeModal, endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert warm_count.ping(params(url=f"{endpoint}/up")) == 200
    assert "keep-warm: GET /health 200 after" in capsys.readouterr().out
    assert warm_count.ping(params(url=f"{endpoint}/starting")) == 503
    with pytest.raises(ServingError, match="answers 404"):
        warm_count.ping(params(url=f"{endpoint}/gone"))
    with pytest.raises(ServingError, match="cannot be reached"):
        warm_count.ping(params(url="http://127.0.0.1:1"))


def test_a_ping_that_waits_for_a_cold_start_is_no_failure(
    modal: FakeModal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_long(*_: Any, **__: Any) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(warm_count.urllib.request, "urlopen", too_long)
    assert warm_count.ping(params(url="https://example.modal.run")) == 0
    assert "no answer within 120 s: a replica is starting" in capsys.readouterr().out
