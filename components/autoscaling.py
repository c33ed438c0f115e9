"""The autoscaler settings that hold at a moment: the configured ones, with the count that a schedule has set."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.schedule import Schedule

COUNT = "minContainers"


def schedule_text(schedule: Schedule | None) -> str:
    """A schedule as a resource keeps it; empty for none."""
    return json.dumps(schedule.to_json(), sort_keys=True) if schedule else ""


def holding(autoscaler: dict[str, Any], schedule: str, moment: datetime | None = None) -> dict[str, int]:
    """`autoscaler` as integers (Pulumi hands every number over as a float), the schedule's count in it while it holds;
    `moment` is now unless given.
    """
    settings = {key: int(value) for key, value in autoscaler.items()}
    if schedule:
        from serving.schedule import Schedule

        count = Schedule.model_validate_json(schedule).count_at(moment or datetime.now(UTC))
        if count is not None:
            settings[COUNT] = count
    return settings
