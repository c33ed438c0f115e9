"""A month under four policies at one shape of traffic, beside the published guides' own sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from infra.configuration import Configuration
from infra.costs import STRATEGIES, replica_hour
from infra.costs.traffic import Busy, Span, Usage, held, pinged, scheduled, usage
from serving.schedule import Change, Schedule, month_of

OWN = "this stack"
GUIDE = {"scale to zero": 12_000, "business hours": 18_000, "always on": 36_000}
"""USD a month, the published guide's on eight B200."""


@dataclass(frozen=True)
class Traffic:
    windows: tuple[Busy, ...]
    timezone: str = "UTC"

    def spans(self, start: datetime, end: datetime) -> list[Span]:
        """Also those that began a day before and go on."""
        zone = ZoneInfo(self.timezone)
        return sorted(span for window in self.windows for span in window.spans(zone, start - timedelta(1), end))


@dataclass(frozen=True)
class Strategy:
    name: str
    schedule: Schedule | None
    """Of warm replicas."""
    count: int = 0
    """Warm ones without a schedule, and after its end."""


def strategies(traffic: Traffic) -> list[Strategy]:
    """The guide's three; its business hours in the traffic's time zone."""
    changes = [Change(cron="0 6 * * MON-FRI", min_containers=1), Change(cron="0 23 * * MON-FRI", min_containers=0)]
    return [
        Strategy("scale to zero", None),
        Strategy("business hours", Schedule(timezone=traffic.timezone, changes=changes)),
        Strategy("always on", None, 1),
    ]


def used(
    configuration: Configuration, strategy: Strategy | None, traffic: Traffic, start: datetime, end: datetime
) -> Usage:
    """The replicas of that span; without a strategy the stack's own schedule, pings and spare replicas."""
    scaling = configuration.scaling
    window = timedelta(seconds=scaling.scaledown_window)
    asked = traffic.spans(start, end)
    if strategy is not None:
        warm = scheduled(strategy.schedule, strategy.count, start, end)
        return usage(warm, held(asked, window), scaling.max_containers, start, end)
    warm = scheduled(configuration.schedule, scaling.min_containers, start, end)
    pings = [] if configuration.keep_warm is None else list(pinged(configuration.keep_warm, window, start, end))
    wanted = [*held(asked, window, scaling.buffer_containers), *pings]
    return usage(warm, wanted, scaling.max_containers, start, end)


@dataclass(frozen=True)
class Month:
    """An average one of the twelve after this."""

    name: str
    hours: float
    """Of replicas."""
    dollars: float
    cold_starts: float
    guide_hours: float | None
    """Of the published guide's own sum; None for the stack's own policy."""
    guide_dollars: float | None


def months(configuration: Configuration, traffic: Traffic, today: datetime) -> list[Month]:
    start, end = the_year(today)
    price = replica_hour(configuration)
    rows = []
    for strategy in (*strategies(traffic), None):
        found = used(configuration, strategy, traffic, start, end)
        name = strategy.name if strategy else OWN
        guide = STRATEGIES[name][0] if strategy else None
        rows.append(
            Month(
                name,
                found.hours / 12,
                found.hours / 12 * price,
                found.cold_starts / 12,
                guide,
                guide * price if guide is not None else None,
            )
        )
    return rows


def the_year(today: datetime) -> tuple[datetime, datetime]:
    """The twelve months after `today`'s (UTC, as Modal bills)."""
    _, start = month_of(today)
    return start, datetime(start.year + 1, start.month, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Session:
    """Somebody comes, works, and goes; nothing was up before."""

    minutes: float
    """Of asking and being answered."""
    start: float
    idle: float
    """Minutes of cold start before, and of idle hold afterwards."""
    price: float
    """USD an hour."""

    @property
    def working(self) -> float:
        """USD of its own minutes alone."""
        return self.price * self.minutes / 60

    @property
    def billed(self) -> float:
        """USD with the start and the idle hold, which Modal bills like any other second."""
        return self.price * (self.minutes + self.start + self.idle) / 60


def session(configuration: Configuration, minutes: float) -> Session:
    deadlines = configuration.recipe.deadlines
    start = deadlines.typical_startup or deadlines.startup
    return Session(minutes, start / 60, configuration.scaling.scaledown_window / 60, replica_hour(configuration))
