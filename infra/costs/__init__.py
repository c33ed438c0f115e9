"""What a stack costs a month, an hour, and while it changes over. USD; GPUs only, which are all but the last per cent.

The strategies are those of the published guide (about $12,000, $18,000 and $36,000 a month on eight B200); its
assumptions are spelled out here, so that the same sums can be made for another GPU, price and schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from components.estimates import replica_seconds
from infra.configuration import Configuration
from infra.schedule import hours_per_month
from serving.cron import Cron
from serving.schedule import KeepWarm

MONTH_DAYS = 365.25 / 12
MONTH_HOURS = 24 * MONTH_DAYS
TRAFFIC_HOURS = 8 * MONTH_DAYS
"""Hours a month in which somebody asks: eight a day, the guide's own assumption."""
BUSINESS_HOURS = 17 * 5 / 7 * MONTH_DAYS
"""The guide's pings: Monday to Friday, 6 to 23 o'clock."""

STRATEGIES = {
    "scale to zero": (TRAFFIC_HOURS, "a cold start after each pause"),
    "business hours": (BUSINESS_HOURS, "cold at night and on weekends"),
    "always on": (MONTH_HOURS, "never cold"),
}
"""Replica hours a month, and what they buy."""


@dataclass(frozen=True)
class Month:
    """USD of an average month among the next twelve."""

    warm_hours: float
    """Hours in which a replica is up with no request at all."""
    idle: float
    """Nobody asks."""
    expected: float
    """Somebody asks eight hours a day, in warm hours as far as they go, and one replica does."""
    most: float
    """Every replica there may be, all the time."""


def replica_hour(configuration: Configuration) -> float:
    """One replica on its own GPUs, in its regions."""
    return 3600 * replica_seconds(configuration.recipe, configuration.capacity)[0]


def least_and_most_an_hour(configuration: Configuration) -> tuple[float, float]:
    """With the fewest and with the most replicas there may be; the dearest of its GPUs for the most."""
    counts = set(warm_hours(configuration, date.today())) or {configuration.scaling.min_containers}
    dearest = 3600 * max(replica_seconds(configuration.recipe, configuration.capacity))
    return min(counts) * replica_hour(configuration), configuration.scaling.max_containers * dearest


def warm_hours(configuration: Configuration, today: date) -> dict[int, float]:
    """Hours of an average month at each count of warm replicas, over the twelve months after `today`'s."""
    least = configuration.scaling.min_containers
    if configuration.schedule is None:
        return {least: MONTH_HOURS}
    hours: dict[int, float] = {}
    for month in range(today.month, today.month + 12):
        year = today.year + month // 12
        of_month = hours_per_month(configuration.schedule, year, month % 12 + 1, otherwise=least)
        for count, found in of_month.items():
            hours[count] = hours.get(count, 0) + found / 12
    return hours


def always_warm(configuration: Configuration) -> bool:
    """Whether a replica is up at any hour, as a deploy finds it."""
    return configuration.schedule is None and configuration.scaling.min_containers > 0


def month(configuration: Configuration, today: date) -> Month:
    price = replica_hour(configuration)
    hours = warm_hours(configuration, today)
    warm = sum(found for count, found in hours.items() if count)
    idle = sum(count * found for count, found in hours.items())
    if configuration.keep_warm is not None:
        held = max(0.0, held_by_pings(configuration.keep_warm, configuration.scaling.scaledown_window) - warm)
        warm, idle = warm + held, idle + held
    busy = idle + max(0.0, TRAFFIC_HOURS - warm) + TRAFFIC_HOURS * configuration.scaling.buffer_containers
    dearest = 3600 * max(replica_seconds(configuration.recipe, configuration.capacity))
    return Month(warm, idle * price, busy * price, configuration.scaling.max_containers * MONTH_HOURS * dearest)


def held_by_pings(keep_warm: KeepWarm, window: float) -> float:
    """Hours of an average month in which a ping was less than `window` seconds ago."""
    start = datetime(2026, 1, 5, tzinfo=UTC)  # four weeks from a Monday on stand for every month
    pings = list(Cron.parse(keep_warm.cron).between(ZoneInfo(keep_warm.timezone), start, start + timedelta(28)))
    gaps = [(after - before).total_seconds() for before, after in pairwise(pings)]
    held = sum(min(gap, window) for gap in gaps) + (window if pings else 0)
    return held / 3600 * MONTH_DAYS / 28


@dataclass(frozen=True)
class CutOver:
    """A new version beside the one that serves."""

    before: tuple[int, int]
    """Replicas of the old version, at the least and at the most."""
    extra: tuple[int, int]
    """Replicas of the new version beside them."""
    seconds: tuple[int, int]
    """What a start usually takes, and what it may take."""
    dollars: tuple[float, float]
    """For the old replicas that go on meanwhile: usually (the fewest, the usual start), and at the most."""


def cut_over(configuration: Configuration, old: Configuration | None = None) -> CutOver:
    """With strategy `rolling`: what serves, at the price of `old`, goes on until the new replicas are warm."""
    scaling, deadlines = configuration.scaling, configuration.recipe.deadlines
    warm = max(warm_hours(configuration, date.today()), default=scaling.min_containers)
    usual, longest = deadlines.typical_startup or deadlines.startup, deadlines.startup
    price = replica_hour(old or configuration) / 3600
    least, most = min(warm, scaling.max_containers), scaling.max_containers
    return CutOver(
        (least, most), (max(least, 1), most), (usual, longest), (least * usual * price, most * longest * price)
    )
