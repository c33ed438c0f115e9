"""Cron expressions of five fields and the instants they mean in a time zone, by the standard library alone.

`minute hour day month weekday`, with `*`, lists, ranges, steps and English names of months and weekdays; where day
and weekday are both restricted, either is enough, as in Unix. An hour that a clock change leaves out is made up for
at its end; an hour that comes twice counts twice.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

_MONTHS = {calendar.month_abbr[month].lower(): month for month in range(1, 13)}
_WEEKDAYS = {calendar.day_abbr[(day - 1) % 7].lower(): day for day in range(7)}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")
_LONGEST_PAUSE = 366 * 8 + 1
"""Days after which every day of the calendar that exists has come: 29 February skips 1900, 2100, …"""


@dataclass(frozen=True)
class Cron:
    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """Both day and weekday are restricted."""

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ValueError naming the field."""
        parts = text.split()
        if len(parts) != 5:
            raise ValueError(f"has {len(parts)} fields, not the five of `minute hour day month weekday`")
        minutes, hours, days, months, weekdays = (
            _values(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
        )
        if parts[2] != "*" and parts[4] != "*" and "*" in parts[2][:1] + parts[4][:1]:
            raise ValueError(
                f"day {parts[2]!r} with weekday {parts[4]!r} means both or either, as the reader likes: list the days"
            )
        cron = cls(
            text=" ".join(parts),
            minutes=minutes,
            hours=hours,
            days=days,
            months=months,
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=parts[2] != "*" and parts[4] != "*",
        )
        if not any(cron.comes_on(date(2024, 1, 1) + timedelta(day)) for day in range(_LONGEST_PAUSE)):
            raise ValueError("means a day that never comes")
        return cron

    def comes_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday

    @cached_property
    def times(self) -> list[time]:
        return [time(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)]

    def between(self, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
        """The instants in `start` <= instant < `end`, in order, as UTC. Both have a time zone."""
        day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
        while day <= last:
            if self.comes_on(day):
                yield from (instant for instant in self._instants(zone, day) if start <= instant < end)
            day += timedelta(1)

    def last(self, zone: ZoneInfo, moment: datetime) -> datetime:
        """The newest instant that is not after `moment`, as UTC."""
        day = moment.astimezone(zone).date()
        for _ in range(_LONGEST_PAUSE):
            if self.comes_on(day) and (gone := [at for at in self._instants(zone, day) if at <= moment]):
                return gone[-1]
            day -= timedelta(1)
        raise ValueError(f"{self.text} has not come since {day}")  # not on this calendar: `parse` has looked

    def _instants(self, zone: ZoneInfo, day: date) -> list[datetime]:
        return sorted({instant for at in self.times for instant in instants_of(zone, datetime.combine(day, at))})


def instants_of(zone: ZoneInfo, wall: datetime) -> list[datetime]:
    """The instants, as UTC, at which clocks there show `wall`: one, or two where the hour is repeated; where clocks
    leave it out, the first instant after the gap.
    """
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return [first] if first == second else [first, second]
    # In a gap `fold=1` is before it and `fold=0` behind it. Clocks change on whole minutes.
    while second.astimezone(zone).replace(tzinfo=None) < wall:
        second += timedelta(minutes=1)
    return [second]


def _values(text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> frozenset[int]:
    def number(word: str) -> int:
        value = names.get(word.lower(), int(word) if word.isdigit() else -1)
        if not lowest <= value <= highest:
            raise ValueError(f"{name} {word!r} is not one of {lowest} to {highest}{_also(names)}")
        return value

    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{name} {part!r} is no number, range or step")
        first = lowest if match["all"] else number(match["first"])
        last = highest if match["all"] else first
        if match["last"]:
            last = number(match["last"])
        elif match["step"] and not match["all"]:
            last = highest
        step = int(match["step"] or 1)
        if last < first or step < 1:
            raise ValueError(f"{name} {part!r} is an empty range")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _also(names: dict[str, int]) -> str:
    return f" or {'/'.join(names).upper()}" if names else ""
