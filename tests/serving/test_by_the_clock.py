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
STACK = "me/glm-serving/prod"
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
        budget = {"maxMonthlyUsd": 1000, "scaleToZeroAtUsd": 1500}
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

    def billed(self, start: str, end: str) -> dict[str, Decimal]:
        """USD of `warm` by hour (UTC), from Modal's own report; hours that cost nothing are left out."""
        report = ("--start", start, "--end", end, "--resolution", "h", "--json")
        rows = json.loads(self.cloud.modal("billing", "report", *report).stdout)
        named = [row for row in rows if row["description"] == "warm"]
        return {row["interval_start"][:13].replace(" ", "T"): Decimal(row["cost"]) for row in named}

    def costs(self, *options: str) -> dict[str, float]:
        """USD by app, as `python -m infra.costs` tells it beside the estimate."""
        command = [sys.executable, "-m", "infra.costs", "prod", "--json", *options]
        return json.loads(self.cloud.run(command).stdout)["metered"]

    def printed(self, app: str) -> list[str]:
        return self.cloud.modal("app", "logs", app).stdout.splitlines()


# Day, 8 and 20 o'clock in Berlin as hours of UTC, and what else is due at 8. In 2027 clocks there go forward in the
# night to Sunday, 28 March.
DAYS = [("2027-03-26", 7, 19, []), ("2027-03-29", 6, 18, ["keep_warm"])]


def test_replicas_follow_the_clock_and_the_money(own_cloud: LocalCloud) -> None:
    """A week, from Friday to Thursday."""
    week = Week(own_cloud)
    for day, eight, twenty, pinged in DAYS:
        assert week.at(f"{day}T{eight - 1:02}:58") == []
        assert week.replicas() == 0
        assert week.at(f"{day}T{eight:02}:04") == ["change_0", *pinged]
        assert week.replicas() == 1
        assert week.at(f"{day}T{twenty:02}:04") == ["change_1"]
        assert week.replicas() == 0

    hours = week.billed("2027-03-26T00:00", "2027-03-29T19:00")
    for day, eight, twenty, _ in DAYS:
        # Up within a minute of the change that starts it, down within a minute of the one that ends it.
        assert 59 * REPLICA_HOUR / 60 <= hours.pop(f"{day}T{eight:02}") <= REPLICA_HOUR
        assert [hours.pop(f"{day}T{hour:02}") for hour in range(eight + 1, twenty)] == 11 * [REPLICA_HOUR]
        assert hours.pop(f"{day}T{twenty:02}", Decimal()) <= REPLICA_HOUR / 60
    assert hours == {}, "at night and on the weekend nothing is up"

    # $600 a day: over the first sum by now, over the second one in the middle of Tuesday, with a replica up.
    assert week.at("2027-03-29T19:13") == ["check_spend"]
    assert week.at("2027-03-30T06:04") == ["change_0"]
    assert week.replicas() == 1
    assert week.at("2027-03-30T15:11") == ["check_spend"]
    assert week.replicas() == 0
    assert week.at("2027-03-31T06:04") == ["change_0"]
    assert week.replicas() == 0
    # Another month, in the middle of a working day.
    assert week.at("2027-04-01T09:11") == ["check_spend"]
    assert week.replicas() == 1

    # Two days of twelve hours, and from 6:00 on Tuesday until the check of 15:10.
    metered = week.costs("--month", "2027-03")
    assert metered["warm"] == pytest.approx((24 + 9 + 10 / 60) * float(REPLICA_HOUR), rel=0.001)
    assert metered["warm-schedule"] + metered["warm-spend"] < 0.01

    scheduled = week.printed("warm-schedule")
    pings = [line for line in scheduled if line.startswith("keep-warm: GET /health 200 after ")]
    changes = [line for line in scheduled if line not in pings]
    assert len(pings) == 1
    assert changes[:5] == [f"schedule (Europe/Berlin): minContainers {count} from now on" for count in (1, 0, 1, 0, 1)]
    assert "minContainers 1 is not set, the budget's $1,500.00 are spent since 2027-03-30T15:10" in changes[5]
    checked = "\n".join(week.printed("warm-spend"))
    assert "Traceback" not in checked
    warned, held, restored = (
        checked.index(words)
        for words in (
            "at $1,500.00 it is scaled to zero. Next: modal billing report",
            "spent in 2027-03: scaled to zero",
            "budget: $0.00 of $1,000.00 spent in 2027-04: scaling is as configured again",
        )
    )
    assert warned < held < restored
    assert "pulumi config set --path budget.scaleToZeroAtUsd 3000 && pulumi up" in checked
