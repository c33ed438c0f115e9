"""The schedule app: sets the serving app's count of warm replicas by the clock, or pings it.

A function for each change of the schedule, one for its end, one for the ping.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import modal

from serving.apps.clockwork import timed, told_in_one_line
from serving.apps.owner import app_tags
from serving.clockwork import ScheduleParams
from serving.params import read_params

params = read_params(ScheduleParams)
app = modal.App(params.app, tags=app_tags(params.stack, params.owner), include_source=False)


def _change(name: str) -> Callable[[], int]:
    def apply_change() -> int:
        from serving.warm_count import apply

        return apply(params, datetime.now(UTC))

    # Containers find a function by its name in this module.
    apply_change.__name__ = apply_change.__qualname__ = name
    return apply_change


if params.schedule:
    _zone = params.schedule.timezone
    for _index, _each in enumerate(params.schedule.changes):
        _name = f"change_{_index}"
        globals()[_name] = timed(app, params, _each.cron, _zone, tries=4)(_change(_name))
    if _until := params.schedule.until:
        # It comes again each year, and says again that the schedule has ended.
        end = timed(app, params, f"0 0 {_until.day} {_until.month} *", _zone, tries=4)(_change("end"))

if params.keep_warm:

    @timed(app, params, params.keep_warm.cron, params.keep_warm.timezone)
    def keep_warm() -> int:
        from serving.warm_count import ping

        with told_in_one_line():
            return ping(params)
