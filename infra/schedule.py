"""`schedule` and `keepWarm` of a stack file: what is refused, and the hours at each count of warm replicas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from serving.cron import instants_of
from serving.schedule import Change, KeepWarm, Schedule

__all__ = ["Change", "KeepWarm", "Schedule", "hours_per_month", "problems", "warnings"]


def hours_per_month(schedule: Schedule, year: int, month: int, *, otherwise: int = 0) -> dict[int, float]:
    """Hours of that month, as the schedule's zone has it, at each count of warm replicas, smallest count first.

    They add up to the month's hours, an hour less or more where clocks change. `otherwise` is scaling.minContainers,
    which holds from the schedule's end on.
    """
    zone = schedule.zone
    start, end = (
        instants_of(zone, datetime(year + (month + more - 1) // 12, (month + more - 1) % 12 + 1, 1))[0]
        for more in (0, 1)
    )
    edges = [(start, schedule.count_at(start)), *schedule.changes_between(start, end), (end, None)]
    stop = schedule.end
    hours: dict[int, float] = {}
    for (since, count), (till, _) in pairwise(edges):
        scheduled = till if stop is None else max(since, min(till, stop))
        for seconds, warm in (((scheduled - since), count), ((till - scheduled), otherwise)):
            if seconds:
                warm = otherwise if warm is None else warm
                hours[warm] = hours.get(warm, 0.0) + seconds / timedelta(hours=1)
    return dict(sorted(hours.items()))


def problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with these keys together with the others, each with the command that mends it.

    Read from the raw values; what is wrong within one key, or of a wrong type, is the model's to say.
    """
    scaling = values.get("scaling", {})
    scaling = scaling if isinstance(scaling, dict) else {}
    found = []
    if (schedule := _read(Schedule, values.get("schedule"))) is not None:
        found += _count_problems(schedule, values, scaling) + _overlaps(schedule)
    if (keep_warm := _read(KeepWarm, values.get("keepWarm"))) is not None:
        found += _keep_warm_problems(keep_warm, values, scaling)
    return found


def warnings(schedule: Schedule | None, keep_warm: KeepWarm | None, now: datetime) -> list[str]:
    """What a preview should say and go on."""
    found = []
    if schedule is not None and schedule.until is not None and not schedule.holds(now):
        found.append(
            f"schedule.until: {schedule.until} is over, scaling.minContainers holds and the schedule does nothing; "
            "`pulumi config rm schedule`, or a later date: `pulumi config set --path schedule.until …`"
        )
    if schedule is not None:
        found += _clock_change_warnings(schedule, now)
    if schedule is not None and keep_warm is not None:
        found.append(
            "keepWarm: its pings hold a replica also in hours at which the schedule has none; "
            "`pulumi config rm keepWarm`: the schedule does without pings"
        )
    return found


def _read(model: type[Any], value: Any) -> Any:
    try:
        return model.model_validate(value) if value is not None else None
    except ValidationError:
        return None


def _count_problems(schedule: Schedule, values: Mapping[str, Any], scaling: Mapping[str, Any]) -> list[str]:
    counts = {change.min_containers for change in schedule.changes}
    found = []
    highest = _whole(scaling.get("maxContainers"), 1)
    for index, change in enumerate(schedule.changes):
        key = f"schedule.changes[{index}].minContainers"
        if change.min_containers > highest:
            found.append(
                f"{key}: found {change.min_containers}, scaling.maxContainers is {highest}; `pulumi config set --path "
                f"scaling.maxContainers {change.min_containers}` or `pulumi config set --path '{key}' {highest}`"
            )
    configured = _whole(scaling.get("minContainers"), 0)
    if configured and configured not in counts and schedule.until is None:
        found.append(
            f"scaling.minContainers: found {configured}, which never holds: the schedule's counts are "
            f"{', '.join(map(str, sorted(counts)))} and it has no end; `pulumi config set --path scaling.minContainers "
            f"{min(counts)}`, or an end: `pulumi config set --path schedule.until 2027-01-31`"
        )
    if 0 in counts and values.get("ingress") == "server" and values.get("allowColdStart503") not in (True, "true"):
        found.append(
            "schedule.changes: has minContainers 0, and ingress 'server' answers 503 while no replica is up; "
            "`pulumi config set ingress web` or `pulumi config set allowColdStart503 true`"
        )
    return found


def _overlaps(schedule: Schedule) -> list[str]:
    """Two changes at one instant: which would win is nobody's guess."""
    found = []
    for (first, one), (second, other) in combinations(enumerate(schedule.changes), 2):
        mend = f"`pulumi config rm --path 'schedule.changes[{second}]'`"
        if one.cron == other.cron:
            found.append(f"schedule.changes[{second}].cron: is that of schedule.changes[{first}] again; {mend}")
        elif one.min_containers != other.min_containers and (at := _shared_instant(one, other)):
            found.append(
                f"schedule.changes[{second}].cron: {other.cron!r} and schedule.changes[{first}].cron {one.cron!r} both "
                f"come at {at:%Y-%m-%d %H:%M} and say {other.min_containers} and {one.min_containers}; {mend}, or "
                f"another time: `pulumi config set --path 'schedule.changes[{second}].cron' …`"
            )
    return found


def _shared_instant(one: Change, other: Change) -> datetime | None:
    both = sorted(set(one.times.times) & set(other.times.times))
    day = datetime(2026, 1, 1)
    for _ in range(366 * 8 if both else 0):
        if one.times.comes_on(day.date()) and other.times.comes_on(day.date()):
            return datetime.combine(day, both[0])
        day += timedelta(1)
    return None


def _keep_warm_problems(keep_warm: KeepWarm, values: Mapping[str, Any], scaling: Mapping[str, Any]) -> list[str]:
    found = []
    window = _whole(scaling.get("scaledownWindow"), 900)
    pause = keep_warm.pause_seconds(datetime(2026, 1, 5, tzinfo=UTC))
    if pause >= window and _whole(scaling.get("minContainers"), 0) == 0:
        mend = "`pulumi config rm keepWarm`"
        if pause < 3600:
            mend = f"`pulumi config set --path scaling.scaledownWindow {int(pause) + 60}` or {mend}"
        found.append(
            f"keepWarm.cron: pings {pause / 60:g} min apart, a replica goes after {window} s "
            f"(scaling.scaledownWindow), so each ping would pay a cold start and keep nothing warm; {mend}"
        )
    if values.get("proxyAuth") in (True, "true"):
        found.append(
            "keepWarm: the ping has no proxy token and would wake nothing; `pulumi config rm keepWarm` (a schedule "
            "needs no ping) or `pulumi config rm proxyAuth`"
        )
    return found


def _clock_change_warnings(schedule: Schedule, now: datetime) -> list[str]:
    """Changes at a time of day that clocks leave out or repeat within a year."""
    found = []
    for index, change in enumerate(schedule.changes):
        for at in change.times.between(schedule.zone, now, now + timedelta(366)):
            if (cause := _clock_change(schedule.zone, change, at)) is not None:
                found.append(
                    f"schedule.changes[{index}].cron: {change.cron!r} comes at a time that clocks in "
                    f"{schedule.timezone} {cause} on {at.astimezone(schedule.zone):%Y-%m-%d}; another hour: "
                    f"`pulumi config set --path 'schedule.changes[{index}].cron' …`"
                )
                break
    return found


def _clock_change(zone: ZoneInfo, change: Change, at: datetime) -> str | None:
    wall = at.astimezone(zone).replace(tzinfo=None)
    if len(instants_of(zone, wall)) > 1:
        return "show twice"
    return None if wall.time() in change.times.times else "leave out"


def _whole(value: Any, default: int) -> int:
    """A number of the raw config; what is none is reported elsewhere."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default
