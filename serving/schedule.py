"""How many replicas are kept warm at a moment: a stack's schedule, as its program and its scheduled app read it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from serving.cron import Cron, instants_of
from serving.recipe_sections import Data

_MIDNIGHT = re.compile(r"[T ]00:00:00(Z| \+0000 UTC)$")


def zone_of(name: str) -> str:
    """`name`, a zone of the time zone database. Raises ValueError."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # OSError: a folder of the database, such as "Europe".
        raise ValueError("is no time zone of the IANA database (such as Europe/Berlin or UTC)") from None
    return name


class Change(Data):
    """From when on how many replicas are kept warm."""

    cron: str
    min_containers: int = Field(ge=0, le=100)

    @field_validator("cron")
    @classmethod
    def _cron_is_one(cls, value: str) -> str:
        return Cron.parse(value).text

    @cached_property
    def times(self) -> Cron:
        return Cron.parse(self.cron)


class Schedule(Data):
    timezone: str = "UTC"
    changes: list[Change] = Field(min_length=1)
    until: date | None = None
    """The first day, in `timezone`, on which the schedule no longer holds."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        return zone_of(value)

    @field_validator("until", mode="before")
    @classmethod
    def _until_is_a_day(cls, value: Any) -> Any:
        """Pulumi reads a day without quotes as its midnight, and writes it so: 2027-01-31 00:00:00 +0000 UTC."""
        try:
            return date.fromisoformat(_MIDNIGHT.sub("", value)) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be a day such as 2027-01-31") from None

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def end(self) -> datetime | None:
        """The instant from which the schedule no longer holds, as UTC."""
        return instants_of(self.zone, datetime.combine(self.until, time()))[0] if self.until else None

    def holds(self, moment: datetime) -> bool:
        return self.end is None or moment < self.end

    def count_at(self, moment: datetime) -> int | None:
        """Replicas kept warm at `moment` (with a time zone): what the newest change says; None once it has ended."""
        if not self.holds(moment):
            return None
        # Of two at one instant, which only an hour left out can bring about, the one later on the clock counts.
        newest = max(self.changes, key=lambda change: (change.times.last(self.zone, moment), change.times.times[-1]))
        return newest.min_containers

    def changes_between(self, start: datetime, end: datetime) -> list[tuple[datetime, int]]:
        """What changes in `start` <= instant < `end`, in order: the instant as UTC and the count from then on."""
        found = [
            (instant, change.times.times[-1], change.min_containers)
            for change in self.changes
            for instant in change.times.between(self.zone, start, end)
            if self.holds(instant)
        ]
        return [(instant, count) for instant, _, count in sorted(found)]


class KeepWarm(Data):
    """A request to /health now and then, which keeps a replica from going down; the schedule does without it."""

    cron: str = "*/14 6-22 * * MON-FRI"
    timezone: str = "UTC"

    @field_validator("cron")
    @classmethod
    def _cron_is_one(cls, value: str) -> str:
        return Cron.parse(value).text

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        return zone_of(value)

    def pause_seconds(self, start: datetime) -> float:
        """The usual pause between two pings in the week from `start` on; a week where there is but one."""
        week = timedelta(7)
        pings = list(Cron.parse(self.cron).between(ZoneInfo(self.timezone), start, start + week))
        pauses = [(after - before).total_seconds() for before, after in pairwise(pings)]
        return Counter(pauses).most_common(1)[0][0] if pauses else week.total_seconds()


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """First instant of the month in UTC, as it is billed, and of the next one."""
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(32)).replace(day=1)
