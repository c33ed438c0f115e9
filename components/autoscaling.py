"""Autoscaler settings: those a running app takes over, those that take another version of it, and those that hold at
a moment, with the count that a schedule has set.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from components import modal_api

if TYPE_CHECKING:
    from serving.params import Scaling
    from serving.schedule import Schedule

COUNT = "minContainers"


def live_settings(scaling: Scaling, ingress: str) -> dict[str, int]:
    """What the running app takes over in place; Modal has no live target concurrency for web endpoints."""
    settings = {
        "minContainers": scaling.min_containers,
        "maxContainers": scaling.max_containers,
        "bufferContainers": scaling.buffer_containers,
        "scaledownWindow": scaling.scaledown_window,
    }
    return {**settings, "targetConcurrency": scaling.target_concurrency} if ingress == "server" else settings


def fixed_settings(scaling: Scaling, ingress: str) -> Scaling:
    """What only another version of the app can change; the rest stays at its default here."""
    from serving.params import Scaling

    if ingress == "server":
        return Scaling(max_concurrency=scaling.max_concurrency)
    return Scaling(target_concurrency=scaling.target_concurrency, max_concurrency=scaling.max_concurrency)


def schedule_text(schedule: Schedule | None) -> str:
    """A schedule as a resource keeps it; empty for none."""
    return schedule.to_text() if schedule else ""


def holding(autoscaler: dict[str, Any], schedule: str, moment: datetime | None = None) -> dict[str, int]:
    """`autoscaler` as integers in the order of modal_api.AUTOSCALER_KEYS (Pulumi hands them over as floats, in any
    order), the schedule's count in it while it holds; `moment` is now unless given.
    """
    settings = {key: int(autoscaler[key]) for key in modal_api.AUTOSCALER_KEYS if key in autoscaler}
    if schedule:
        from serving.schedule import Schedule

        count = Schedule.model_validate_json(schedule).count_at(moment or datetime.now(UTC))
        if count is not None:
            settings[COUNT] = count
    return settings
