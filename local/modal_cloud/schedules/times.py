"""When a schedule is due next. Pure arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter
from dateutil.relativedelta import relativedelta
from modal_proto import api_pb2

from local.modal_cloud.errors import Invalid


def check(schedule: api_pb2.Schedule) -> None:
    """Raises Invalid for what a deploy should be told."""
    if schedule.HasField("period"):
        if not _period(schedule.period, 1):
            raise Invalid("a Period of no length never ends: modal.Period(minutes=15)")
        return
    cron = schedule.cron
    if not croniter.is_valid(cron.cron_string) or len(cron.cron_string.split()) != 5:
        raise Invalid(f"'{cron.cron_string}' is no cron expression of five fields")
    try:
        ZoneInfo(cron.timezone or "UTC")
    except (KeyError, ValueError, OSError):
        raise Invalid(f"'{cron.timezone}' is no time zone of the IANA database") from None
    try:
        next_due(schedule, 0.0, 0.0)
    except CroniterBadDateError:
        raise Invalid(f"'{cron.cron_string}' means a day that never comes") from None


def next_due(schedule: api_pb2.Schedule, deployed_at: float, after: float) -> float:
    """Unix seconds of the first time that is later than `after`. A period is counted from the deploy on."""
    if schedule.HasField("cron"):
        zone = ZoneInfo(schedule.cron.timezone or "UTC")
        start = datetime.fromtimestamp(after, zone)
        due: datetime = croniter(schedule.cron.cron_string, start).get_next(datetime)
        return due.timestamp()
    began = datetime.fromtimestamp(deployed_at, UTC)
    one = (began + _period(schedule.period, 1)).timestamp() - deployed_at
    count = max(1, int((after - deployed_at) / one))
    # Months differ in length: the estimate may be off by a few either way.
    while count > 1 and (began + _period(schedule.period, count - 1)).timestamp() > after:
        count -= 1
    while (began + _period(schedule.period, count)).timestamp() <= after:
        count += 1
    return (began + _period(schedule.period, count)).timestamp()


def _period(period: api_pb2.Schedule.Period, count: int) -> relativedelta:
    return relativedelta(
        years=count * period.years,
        months=count * period.months,
        weeks=count * period.weeks,
        days=count * period.days,
        hours=count * period.hours,
        minutes=count * period.minutes,
        microseconds=round(count * period.seconds * 1e6),
    )
