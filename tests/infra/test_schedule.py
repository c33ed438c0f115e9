"""`schedule`, `keepWarm` and `budget` of a stack file, and what a schedule amounts to in a month."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.schedule import Schedule, hours_per_month, warnings
from serving.cron import Cron
from tests.infra.test_settings import RECIPE, load, problems

BUSINESS_HOURS = [
    {"cron": "0 8 * * MON-FRI", "minContainers": 1},
    {"cron": "0 20 * * MON-FRI", "minContainers": 0},
]
BERLIN = Schedule.model_validate({"timezone": "Europe/Berlin", "changes": BUSINESS_HOURS})


def test_business_hours_of_a_month() -> None:
    # November 2026 has 21 working days of 12 hours each.
    assert hours_per_month(BERLIN, 2026, 11) == {0: 720 - 252, 1: 252}


def test_a_night_with_a_clock_change_is_an_hour_shorter_or_longer() -> None:
    nights = Schedule.model_validate(
        {
            "timezone": "Europe/Berlin",
            "changes": [{"cron": "0 22 * * *", "minContainers": 2}, {"cron": "0 6 * * *", "minContainers": 0}],
        }
    )
    assert hours_per_month(nights, 2026, 3) == {0: 31 * 16, 2: 31 * 8 - 1}
    assert hours_per_month(nights, 2026, 10) == {0: 31 * 16, 2: 31 * 8 + 1}


def test_from_the_end_on_the_configured_count_holds() -> None:
    ended = BERLIN.model_copy(update={"until": datetime(2026, 11, 16).date()})
    # Ten working days until then; 15 days at the two replicas of scaling.minContainers.
    assert hours_per_month(ended, 2026, 11, otherwise=2) == {0: 15 * 24 - 120, 1: 120, 2: 15 * 24}
    assert hours_per_month(ended, 2026, 12, otherwise=2) == {2: 31 * 24}


@settings(max_examples=8)
@given(
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    year=st.integers(2025, 2030),
    month=st.integers(1, 12),
    first=st.integers(0, 23),
    more=st.integers(1, 23),
)
def test_the_hours_are_those_of_the_month_minute_by_minute(
    zone: str, year: int, month: int, first: int, more: int
) -> None:
    schedule = Schedule.model_validate(
        {
            "timezone": zone,
            "changes": [
                {"cron": f"30 {first} * * *", "minContainers": 1},
                {"cron": f"30 {(first + more) % 24} * * MON-FRI", "minContainers": 0},
            ],
        }
    )
    moment = datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    days = monthrange(year, month)[1]
    end = datetime(year, month, days, 23, 59, tzinfo=ZoneInfo(zone)).astimezone(UTC) + timedelta(minutes=1)
    counted: dict[int, float] = {}
    while moment < end:
        count = schedule.count_at(moment)
        assert count is not None
        counted[count] = counted.get(count, 0) + 0.5
        moment += timedelta(minutes=30)
    assert hours_per_month(schedule, year, month) == dict(sorted(counted.items()))


@settings(max_examples=60)
@given(
    text=st.sampled_from(
        [
            "*/14 6-22 * * MON-FRI",
            "0 8 * * 1-5",
            "30 2 * * *",
            "0 0 1 * *",
            "15 9 13 * FRI",
            "5,35 */7 * 3,10 *",
            "0 3 */9 * *",
            "59 23 31 12 *",
            "7/20 1 * * sun,7",
        ]
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    start=st.datetimes(datetime(2025, 1, 1), datetime(2029, 1, 1)),
)
def test_instants_are_those_of_a_well_known_library(text: str, zone: str, start: datetime) -> None:
    began = start.replace(tzinfo=ZoneInfo(zone), second=0, microsecond=0)
    theirs = croniter(text, began)
    ours = Cron.parse(text).between(
        ZoneInfo(zone), began.astimezone(UTC) + timedelta(seconds=1), began + timedelta(900)
    )
    for _, instant in zip(range(6), ours, strict=False):
        assert theirs.get_next(datetime).astimezone(UTC) == instant
    assert Cron.parse(text).last(ZoneInfo(zone), instant) == instant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 8 * *", "has 4 fields"),
        ("60 8 * * *", "minute '60' is not one of 0 to 59"),
        ("0 8 * * FUN", "weekday 'FUN' is not one of 0 to 7 or SUN/MON"),
        ("0 8-6 * * *", "hour '8-6' is an empty range"),
        ("0 8 30 2 *", "means a day that never comes"),
        ("0 */0 * * *", "hour '*/0' is an empty range"),
        ("0 3 */9 * 0", "list the days"),
        ("0 8 ? * *", "day '?' is no number, range or step"),
    ],
)
def test_what_is_no_cron_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Cron.parse(text)


def test_everything_wrong_is_said_at_once_with_its_mend() -> None:
    found = problems(
        {
            **RECIPE,
            "ingress": "server",
            "scaling": {"minContainers": 2, "maxContainers": 2, "scaledownWindow": 300},
            "schedule": {"changes": [*BUSINESS_HOURS, {"cron": "0 8 1 * *", "minContainers": 3}]},
            "keepWarm": {"cron": "*/14 6-22 * * MON-FRI", "timezone": "Europe/Nowhere"},
            "budget": {"maxMonthlyUsd": 100, "scaleToZeroAtUsd": 50},
            "proxyAuth": True,
            "smokeTest": "never",
        }
    )
    for key, words, mend in (
        ("keepWarm.timezone", "is no time zone", "pulumi config set --path keepWarm.timezone"),
        (
            "budget.scaleToZeroAtUsd",
            "at least budget.maxMonthlyUsd",
            "pulumi config set --path budget.scaleToZeroAtUsd",
        ),
        ("schedule.changes[2].minContainers", "maxContainers is 2", "pulumi config set --path scaling.maxContainers 3"),
        ("scaling.minContainers", "never holds", "pulumi config set --path scaling.minContainers 0"),
        ("schedule.changes", "answers 503", "pulumi config set ingress web"),
        ("schedule.changes[2].cron", "2026-01-01 08:00", "pulumi config rm --path 'schedule.changes[2]'"),
    ):
        assert any(text.startswith(f"{key}: ") and words in text and mend in text for text in found), (key, found)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("config", "key", "words"),
    [
        ({"schedule": {"changes": []}}, "schedule.changes", "at least 1 item"),
        ({"schedule": {"changes": [{"cron": "0 8 * *", "minContainers": 1}]}}, "schedule.changes[0].cron", "4 fields"),
        ({"schedule": {"changes": [{"cron": "0 8 * * *"}]}}, "schedule.changes[0].minContainers", "is required"),
        ({"schedule": {"changes": BUSINESS_HOURS, "tz": "UTC"}}, "schedule.tz", "timezone"),
        ({"schedule": {"changes": BUSINESS_HOURS[:1] * 2}}, "schedule.changes[1].cron", "again"),
        ({"schedule": {"changes": BUSINESS_HOURS, "until": "soon"}}, "schedule.until", "a day such as"),
        ({"keepWarm": {}, "scaling": {"scaledownWindow": 300}}, "keepWarm.cron", "scaling.scaledownWindow 900"),
        ({"keepWarm": {}, "proxyAuth": True, "smokeTest": "never"}, "keepWarm", "no proxy token"),
        ({"budget": {}}, "budget.maxMonthlyUsd", "is required"),
        ({"budget": {"maxMonthlyUsd": 0}}, "budget.maxMonthlyUsd", "greater than 0"),
        ({"budget": 100}, "budget", "pulumi config set budget"),
    ],
)
def test_one_problem_each(config: dict[str, object], key: str, words: str) -> None:
    (problem,) = problems({**RECIPE, **config})
    assert problem.startswith(f"{key}: "), problem
    assert words in problem
    assert "`pulumi config " in problem


def test_what_is_right_is_taken() -> None:
    loaded = load(
        {
            **RECIPE,
            "schedule": {"timezone": "Europe/Berlin", "changes": BUSINESS_HOURS, "until": "2031-01-31"},
            "keepWarm": {"timezone": "Europe/Berlin"},
            "budget": {"maxMonthlyUsd": 20000, "scaleToZeroAtUsd": 25000},
        }
    )
    assert loaded.schedule is not None
    assert loaded.keep_warm is not None
    assert loaded.keep_warm.cron == "*/14 6-22 * * MON-FRI"
    assert loaded.budget is not None
    assert loaded.budget.scale_to_zero_at_usd == 25000
    assert any(text.startswith("keepWarm: its pings") for text in loaded.warnings)


@pytest.mark.parametrize("until", ["2027-01-31", "2027-01-31T00:00:00Z", "2027-01-31 00:00:00 +0000 UTC"])
def test_an_end_is_a_day_however_yaml_readers_hand_it_over(until: str) -> None:
    loaded = load({**RECIPE, "schedule": {"changes": BUSINESS_HOURS, "until": until}})
    assert loaded.schedule is not None
    assert str(loaded.schedule.until) == "2027-01-31"


def test_an_end_in_the_past_and_an_hour_that_clocks_leave_out_are_warned_of() -> None:
    night = Schedule.model_validate(
        {
            "timezone": "Europe/Berlin",
            "changes": [{"cron": "30 2 * * SUN", "minContainers": 1}, {"cron": "0 20 * * *", "minContainers": 0}],
            "until": "2026-06-01",
        }
    )
    assert "leave out on 2026-03-29" in warnings(night, None, datetime(2026, 1, 1, tzinfo=UTC))[0]
    over, *_ = warnings(night, None, datetime(2026, 11, 21, tzinfo=UTC))
    assert over.startswith("schedule.until: 2026-06-01 is over")
    assert warnings(BERLIN, None, datetime(2026, 1, 1, tzinfo=UTC)) == []
