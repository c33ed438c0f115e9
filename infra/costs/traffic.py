"""When somebody asks, and which replicas are up because of it: spans of time with a count, exact to the second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from serving.cron import Cron, instants_of
from serving.schedule import KeepWarm, Schedule

Span = tuple[datetime, datetime, int]
"""From, till (as UTC) and how many replicas."""
_WINDOW = re.compile(r"(?:(?P<days>\S+) )?(?P<start>\d{1,2}(?::\d\d)?)-(?P<end>\d{1,2}(?::\d\d)?)(?: x(?P<count>\d+))?")


@dataclass(frozen=True)
class Busy:
    """Hours of the day, on some days of the week, in which requests come without a longer pause."""

    weekdays: frozenset[int]
    """0 is Sunday."""
    start: timedelta
    end: timedelta
    """Since midnight, as clocks show it; at most a day."""
    replicas: int
    """How many it takes to answer them."""

    @classmethod
    def parse(cls, text: str) -> Busy:
        """`MON-FRI 9-17:30 x2`: days as in cron (all, if none are named), hours, replicas. Raises ValueError."""
        match = _WINDOW.fullmatch(" ".join(text.split()))
        if match is None:
            raise ValueError(f"{text!r} is not like 'MON-FRI 9-17', '9-17' or 'SAT,SUN 10:30-12 x2'")
        start, end = _since_midnight(match["start"]), _since_midnight(match["end"])
        if end <= start:
            raise ValueError(f"{text!r} ends before it begins; a night is two: '22-24' and '0-6'")
        count = int(match["count"] or 1)
        if not 1 <= count <= 100:
            raise ValueError(f"{text!r}: x{count} is not 1 to 100 replicas")
        return cls(Cron.parse(f"0 0 * * {match['days'] or '*'}").weekdays, start, end, count)

    def spans(self, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Span]:
        """Those that begin in `start` <= instant < `end`."""
        day, last = start.astimezone(zone).date() - timedelta(1), end.astimezone(zone).date()
        while day <= last:
            if day.isoweekday() % 7 in self.weekdays:
                midnight = datetime.combine(day, time())
                began, ended = (instants_of(zone, midnight + since)[0] for since in (self.start, self.end))
                if start <= began < end:
                    yield began, ended, self.replicas
            day += timedelta(1)


def _since_midnight(text: str) -> timedelta:
    hour, _, minute = text.partition(":")
    since = timedelta(hours=int(hour), minutes=int(minute or 0))
    if since > timedelta(1):
        raise ValueError(f"{text} is no time of the day")
    return since


def held(asked: Iterable[Span], window: timedelta, spare: int = 0) -> Iterator[Span]:
    """The replicas of those spans: with `spare` ones more, and until they have been idle for `window`."""
    for start, end, count in asked:
        yield start, end + window, count + spare


def pinged(keep_warm: KeepWarm, window: timedelta, start: datetime, end: datetime) -> Iterator[Span]:
    """Spans in which a ping was less than `window` ago."""
    pings = Cron.parse(keep_warm.cron).between(ZoneInfo(keep_warm.timezone), start, end)
    since = last = None
    for ping in pings:
        if last is None or since is None or ping - last >= window:
            if since is not None and last is not None:
                yield since, last + window, 1
            since = ping
        last = ping
    if since is not None and last is not None:
        yield since, last + window, 1


def scheduled(schedule: Schedule | None, otherwise: int, start: datetime, end: datetime) -> list[Span]:
    """The warm replicas of a schedule; `otherwise` without one and after its end."""
    if schedule is None:
        return [(start, end, otherwise)]
    first = schedule.count_at(start)
    edges = [(start, otherwise if first is None else first), *schedule.changes_between(start, end)]
    if schedule.end is not None and start < schedule.end < end:
        edges.append((schedule.end, otherwise))
    return [(since, till, count) for (since, count), (till, _) in pairwise([*edges, (end, 0)]) if since < till]


@dataclass(frozen=True)
class Usage:
    """Of one span of time under one policy."""

    replicas: list[Span]
    """Without gaps; a count of 0 where none is up."""
    cold_starts: int
    """Replicas that requests, or a ping, had to start and so waited for."""

    @property
    def hours(self) -> float:
        """Of all replicas."""
        return sum(count * (till - since) / timedelta(hours=1) for since, till, count in self.replicas)


def usage(warm: Iterable[Span], asked: Iterable[Span], most: int, start: datetime, end: datetime) -> Usage:
    """What is up: the warm ones, or more where more are asked for, `most` at the most. Where spans of one kind overlap
    the largest count holds.
    """
    edges: dict[datetime, list[tuple[int, int, int]]] = {start: [], end: []}
    for kind, spans in enumerate((warm, asked)):
        for since, till, count in spans:
            if till > start and since < end:
                edges.setdefault(max(since, start), []).append((kind, count, 1))
                edges.setdefault(min(till, end), []).append((kind, count, -1))
    going: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    replicas: list[Span] = []
    cold_starts = up = 0
    for since, till in pairwise(sorted(edges)):
        for kind, count, change in edges[since]:
            going[kind][count] += change
        kept, wanted = (max((count for count, number in of.items() if number), default=0) for of in going)
        before, up = up, min(most, max(kept, wanted))
        cold_starts += max(0, up - max(min(kept, most), before))
        if replicas and replicas[-1][2] == up:
            replicas[-1] = (replicas[-1][0], till, up)
        else:
            replicas.append((since, till, up))
    return Usage(replicas, cold_starts)
