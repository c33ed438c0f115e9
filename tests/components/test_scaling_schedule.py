"""A schedule's own app and the serving app's count: what is restored when, and what counts as drift."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from components import modal_api, ownership
from components.autoscaling import holding, schedule_text
from components.modal_api import LiveApp
from components.scaling_schedule import ScalingScheduleProvider
from components.serving_app import ServingAppProvider
from serving.schedule import Schedule

SCHEDULE = Schedule.model_validate(
    {"changes": [{"cron": "0 0 1 1 *", "minContainers": 2}, {"cron": "0 0 2 1 *", "minContainers": 2}]}
)
TEXT = schedule_text(SCHEDULE)
CONFIGURED = {"minContainers": 0.0, "maxContainers": 3.0, "bufferContainers": 0.0, "scaledownWindow": 900.0}
APP = {
    "environment": "main",
    "name": "glm",
    "ingress": "web",
    "params": json.dumps({"stack": "me/p/s"}),
    "source": "1",
    "attachments": {},
    "autoscaler": CONFIGURED,
    "schedule": TEXT,
    "artifacts": {},
    "strategy": "rolling",
    "appId": "ap-1",
    "version": 1.0,
    "liveVersion": 1.0,
    "adoptedVersion": 0.0,
    "owner": "o",
}
SCHEDULED = {
    "environment": "main",
    "name": "glm-schedule",
    "params": json.dumps({"stack": "me/p/s", "servingApp": "glm", "ingress": "web", "schedule": SCHEDULE.to_json()}),
    "source": "1",
    "autoscaler": CONFIGURED,
    "appId": "ap-2",
    "version": 1.0,
    "liveVersion": 1.0,
    "owner": "o",
}


class FakeModal:
    """Two apps that run, and the serving app's live autoscaler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.apps = {"glm": LiveApp("ap-1", 1), "glm-schedule": LiveApp("ap-2", 1)}
        self.live = {**holding(CONFIGURED, ""), "minContainers": 2}
        self.said: list[str] = []
        monkeypatch.setattr(modal_api, "find_app", lambda environment, name: self.apps.get(name))
        monkeypatch.setattr(modal_api, "stop_app", lambda environment, name: self.apps.pop(name, None))
        monkeypatch.setattr(modal_api, "read_autoscaler", lambda *_: dict(self.live))
        monkeypatch.setattr(modal_api, "update_autoscaler", self.update)
        monkeypatch.setattr(ownership, "app_taken_from", lambda *_: False)

    def update(self, environment: str, app: str, ingress: str, autoscaler: dict[str, Any]) -> None:
        assert all(type(value) is int for value in autoscaler.values())
        if app not in self.apps:
            raise modal_api.Absent("gone")
        self.live.update(autoscaler)


@pytest.fixture
def modal(monkeypatch: pytest.MonkeyPatch) -> FakeModal:
    return FakeModal(monkeypatch)


def test_a_change_that_came_while_the_version_was_tested_is_made_up_for(
    modal: FakeModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    modal.live["minContainers"] = 0
    monkeypatch.setattr(modal_api, "deploy_app", lambda *_: LiveApp("ap-2", 2))
    ScalingScheduleProvider().update("ap-2", SCHEDULED, {**SCHEDULED, "source": "2"})
    assert modal.live == {**holding(CONFIGURED, ""), "minContainers": 2}


def test_a_schedule_that_is_destroyed_leaves_the_configured_scaling(
    modal: FakeModal, capsys: pytest.CaptureFixture[str]
) -> None:
    ScalingScheduleProvider().delete("ap-2", SCHEDULED)
    assert "glm-schedule" not in modal.apps
    assert modal.live["minContainers"] == 0
    assert "stopped, glm has its configured scaling again" in capsys.readouterr().out


def test_where_the_serving_app_has_withdrawn_it_nothing_older_is_restored(modal: FakeModal) -> None:
    news = {**APP, "schedule": "", "autoscaler": {**CONFIGURED, "minContainers": 1.0}}
    ServingAppProvider().update("ap-1", APP, news)
    assert "glm-schedule" not in modal.apps
    ScalingScheduleProvider().delete("ap-2", SCHEDULED)
    assert modal.live["minContainers"] == 1


def test_a_schedule_goes_also_where_its_app_is_gone_already(modal: FakeModal) -> None:
    del modal.apps["glm"]
    ScalingScheduleProvider().delete("ap-2", SCHEDULED)
    assert "glm-schedule" not in modal.apps


@pytest.mark.parametrize(("live", "drifted"), [(2, False), (0, True), (1, True)])
def test_only_another_count_than_the_schedules_is_drift(
    modal: FakeModal, capsys: pytest.CaptureFixture[str], live: int, drifted: bool
) -> None:
    modal.live["minContainers"] = live
    provider = ServingAppProvider()
    outs = provider.read("ap-1", APP).outs
    assert provider.diff("ap-1", outs, APP).changes is drifted
    assert (f"minContainers {live} instead of 2" in capsys.readouterr().out) is drifted
    mended = provider.update("ap-1", outs, APP).outs
    assert provider.diff("ap-1", mended, APP).changes is False
    if drifted:
        assert modal.live["minContainers"] == 2


def test_the_count_that_holds(modal: FakeModal) -> None:
    ended = schedule_text(SCHEDULE.model_copy(update={"until": datetime(2026, 6, 1).date()}))
    assert holding(CONFIGURED, TEXT)["minContainers"] == 2
    assert holding(CONFIGURED, "")["minContainers"] == 0
    assert holding(CONFIGURED, ended, datetime(2026, 5, 31, tzinfo=UTC))["minContainers"] == 2
    assert holding(CONFIGURED, ended, datetime(2026, 6, 1, tzinfo=UTC))["minContainers"] == 0
