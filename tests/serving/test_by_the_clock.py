"""The schedule app and the spend app on the local cloud's clock, over a night with a clock change and a month's end."""

from __future__ import annotations

import json
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.clock_command import Clock
from local.installation import Installation
from serving.clockwork import ScheduleParams, SpendParams
from serving.params import PARAMS_VARIABLE
from tests.local_cloud import BIN, LocalCloud

APPS = Path(__file__).parents[1] / "modal_cloud" / "apps"
STACK = "me/project/test"
SCHEDULE = {
    "timezone": "Europe/Berlin",
    "changes": [
        {"cron": "0 8 * * MON-FRI", "minContainers": 1},
        {"cron": "0 20 * * MON-FRI", "minContainers": 0},
    ],
}
REPLICA_HOUR = 3600 * (8 * Decimal("0.001736") + Decimal("0.125") * (Decimal("0.0000131") + Decimal("0.00000222")))
"""USD: eight B200, and the least of CPU and memory."""
pytestmark = pytest.mark.cloud


class Week:
    """The serving app `warm` with its schedule and its spend check, and the cloud's clock."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.clock = Clock.of(cloud.dir)
        cloud.run([str(BIN / "modal"), "deploy", str(APPS / "warm_app.py")], env={"PYTHONPATH": str(APPS)})
        served: dict[str, Any] = {"stack": STACK, "servingApp": "warm", "ingress": "web", "schedule": SCHEDULE}
        ping = {"cron": "2 8 29 3 *", "timezone": "Europe/Berlin"}
        schedule = {"app": "warm-schedule", **served, "keepWarm": ping, "url": self.status()["urls"][0]}
        self.deploy("schedule", ScheduleParams.model_validate(schedule).to_json())
        scaling = {"maxContainers": 3, "scaledownWindow": 2}
        budget = {"maxMonthlyUsd": 500, "scaleToZeroAtUsd": 1000}
        spend = SpendParams.model_validate({"app": "warm-spend", **served, "scaling": scaling, "budget": budget})
        self.deploy("spend", spend.to_json())

    def deploy(self, module: str, params: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "components.modal_deploy", f"serving.apps.{module}", "main", "rolling"]
        self.cloud.run(command, env={PARAMS_VARIABLE: json.dumps(params)})

    def at(self, text: str) -> list[str]:
        """Goes to this moment (UTC), the last five minutes with all that is due in them; what that was."""
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        self.clock.advance_to(moment - timedelta(minutes=5), skip=True)
        return [firing["function"] for firing in self.clock.advance_to(moment)]

    def replicas(self) -> int:
        containers: int = self.status()["containers"]
        return containers

    def status(self) -> dict[str, Any]:
        installation = Installation.open(self.cloud.dir)
        request = urllib.request.Request(
            f"http://127.0.0.1:{installation.http_port}/status",
            headers={"Authorization": f"Bearer {installation.token_secret}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            running: list[dict[str, Any]] = json.load(response)
        return next(app for app in running if app["name"] == "warm")

    def printed(self, app: str) -> list[str]:
        return self.cloud.modal("app", "logs", app).stdout.splitlines()


def test_replicas_follow_the_clock_and_the_money(own_cloud: LocalCloud) -> None:
    week = Week(own_cloud)
    # In 2027 clocks in Berlin go forward in the night to Sunday, 28 March: 8 o'clock is 7 UTC before and 6 after it.
    assert week.at("2027-03-26T06:58") == []
    assert week.replicas() == 0
    assert week.at("2027-03-26T07:04") == ["change_0"]
    assert week.replicas() == 1
    assert week.at("2027-03-26T19:04") == ["change_1"]
    assert week.replicas() == 0

    report = ("--start", "2027-03-26T08:00", "--end", "2027-03-26T19:00", "--resolution", "h", "--json")
    rows = json.loads(own_cloud.modal("billing", "report", *report).stdout)
    assert [Decimal(row["cost"]) for row in rows if row["description"] == "warm"] == 11 * [REPLICA_HOUR]

    assert week.at("2027-03-26T19:13") == ["check_spend"]  # $600 for twelve hours: over the first sum
    assert week.at("2027-03-29T05:58") == []
    assert week.at("2027-03-29T06:04") == ["change_0", "keep_warm"]
    assert week.replicas() == 1
    # $450 more: over the second one, in the middle of a day on which the schedule keeps a replica.
    assert week.at("2027-03-29T15:11") == ["check_spend"]
    assert week.replicas() == 0
    assert week.at("2027-03-30T06:04") == ["change_0"]
    assert week.replicas() == 0
    # Another month, in the middle of a working day.
    assert week.at("2027-04-01T09:11") == ["check_spend"]
    assert week.replicas() == 1

    scheduled = week.printed("warm-schedule")
    assert scheduled[:3] == [
        "schedule (Europe/Berlin): minContainers 1 from now on",
        "schedule (Europe/Berlin): minContainers 0 from now on",
        "schedule (Europe/Berlin): minContainers 1 from now on",
    ]
    assert scheduled[3].startswith("keep-warm: GET /health 200 after ")
    assert "minContainers 1 is not set, the budget's $1,000.00 are spent since 2027-03-29T15:10" in scheduled[4]
    checked = "\n".join(week.printed("warm-spend"))
    assert "Traceback" not in checked
    warned, held, restored = (
        checked.index(words)
        for words in (
            "at $1,000.00 it is scaled to zero. Next: modal billing report",
            "spent in 2027-03: scaled to zero",
            "budget: $0.00 of $500.00 spent in 2027-04: scaling is as configured again",
        )
    )
    assert warned < held < restored
    assert "pulumi config set --path budget.scaleToZeroAtUsd 2000 && pulumi up" in checked
