"""Cron and Period on the local cloud's clock, and what the containers cost by it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from modal_proto import api_pb2

from local.clock_command import Clock
from local.modal_cloud.errors import Invalid
from local.modal_cloud.schedules.times import check, next_due
from tests.local_cloud import BIN, LocalCloud

APPS = Path(__file__).parent / "apps"
FULL_HOUR = 3600 * (2 * Decimal("0.001736") + 4 * Decimal("0.0000131") + 8 * Decimal("0.00000222"))
"""USD: 2 B200, 4 cores, 8 GiB."""


def cron(text: str, zone: str = "") -> api_pb2.Schedule:
    return api_pb2.Schedule(cron=api_pb2.Schedule.Cron(cron_string=text, timezone=zone))


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        (cron("0 8 * * MON-FRI"), "2026-11-20T09:00Z", "2026-11-23T08:00Z"),
        (cron("0 8 * * *", "Europe/Berlin"), "2027-03-27T12:00Z", "2027-03-28T06:00Z"),
        (cron("0 8 * * *", "Europe/Berlin"), "2027-03-26T12:00Z", "2027-03-27T07:00Z"),
        (cron("30 2 * * *", "Europe/Berlin"), "2027-03-27T12:00Z", "2027-03-28T01:00Z"),  # a time left out
        (api_pb2.Schedule(period=api_pb2.Schedule.Period(hours=36)), "2026-01-01T00:00Z", "2026-01-02T12:00Z"),
        (api_pb2.Schedule(period=api_pb2.Schedule.Period(months=1)), "2026-03-15T00:00Z", "2026-04-01T00:00Z"),
        (api_pb2.Schedule(period=api_pb2.Schedule.Period(seconds=0.5)), "2026-01-01T00:00Z", "2026-01-01T00:00:00.5Z"),
    ],
)
def test_when_a_schedule_is_due(schedule: api_pb2.Schedule, after: str, due: str) -> None:
    assert next_due(schedule, at("2026-01-01T00:00Z"), at(after)) == at(due)


@pytest.mark.parametrize(
    "wrong", [cron("0 8 * *"), cron("99 8 * * *"), cron("0 8 * * *", "Mars/Base"), cron("@daily"), cron("0 8 30 2 *")]
)
def test_a_deploy_is_told_what_is_no_schedule(wrong: api_pb2.Schedule) -> None:
    with pytest.raises(Invalid):
        check(wrong)


@pytest.mark.cloud
def test_schedules_fire_and_seconds_are_billed_by_the_clouds_clock(own_cloud: LocalCloud) -> None:
    for app in ("app", "paid"):
        command = [str(BIN / "modal"), "deploy", f"{APPS / 'clockwork.py'}::{app}"]
        own_cloud.run(command, env={"PYTHONPATH": str(APPS)})
    clock = Clock.of(own_cloud.dir)
    start = datetime(clock.now().year + 1, 3, 27, 20, tzinfo=UTC)
    while start.weekday() != 6:  # a Sunday
        start += timedelta(1)
    clock.advance_to(start, skip=True)

    fired = [(firing["function"], datetime.fromtimestamp(firing["at"], UTC)) for firing in clock.advance(17 * 3600)]
    names = [name for name, _ in fired]
    assert names.count("office") == 1
    assert names.count("nightly") == 1
    assert names.count("now_and_then") in (1, 2)
    printed = own_cloud.modal("app", "logs", "clockwork").stdout.splitlines()
    # The containers' own clocks went along.
    assert printed == [f"{name.replace('_', ' ')} at {moment:%Y-%m-%d %H:%M}Z" for name, moment in fired]

    own_cloud.python(
        "import modal; f = modal.Function.from_name('clockwork-paid', 'costly'); "
        "f.update_autoscaler(min_containers=1); print(f.remote())"
    )
    began = clock.now()
    clock.advance(3 * 3600)
    first = began.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    report = [
        *("billing", "report", "--resolution", "h", "--json"),
        *("--start", first.isoformat(), "--end", (first + timedelta(hours=2)).isoformat()),
    ]
    rows = json.loads(own_cloud.modal(*report).stdout)
    assert [Decimal(row["cost"]) for row in rows if row["description"] == "clockwork-paid"] == [FULL_HOUR, FULL_HOUR]
    before = clock.now()
    own_cloud.stop()
    own_cloud.start()
    assert clock.now() > before
    assert json.loads(own_cloud.modal("billing", "rates", "--json").stdout)["gpu_hour_cost_b200"] == "6.249600"
