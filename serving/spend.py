"""What a stack has spent this month, and what follows from it. Runs hourly on Modal (serving/apps/spend.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from serving.apps.owner import STACK_TAG, tag_of
from serving.autoscaler import Autoscaler
from serving.clockwork import SpendParams
from serving.errors import ServingError
from serving.schedule import month_of
from serving.spend_hold import SpendHold

AT_ZERO = {"min_containers": 0, "buffer_containers": 0, "max_containers": 1, "scaledown_window": 2}
"""Modal has no limit of no container at all: a request can still start one, which goes two idle seconds later."""


class OverBudget(ServingError):
    """So that the run counts as failed where people look: `modal app logs`, the dashboard, its alerts."""


def check(params: SpendParams, now: datetime) -> dict[str, Any]:
    """Warns from `maxMonthlyUsd` on and keeps the app at zero from `scaleToZeroAtUsd` on, until the month is over or
    the sum is raised. Safe to repeat. `{"spent", "held"}`, USD metered up to the last full hour. Raises OverBudget.
    """
    spent = spent_in(params, now)
    budget, hold = params.budget, SpendHold(params.serving_app)
    limit = budget.scale_to_zero_at_usd
    month = f"{now:%Y-%m}"
    told = f"budget: ${spent:,.2f} of ${budget.max_monthly_usd:,.2f} spent in {month}"
    autoscaler = Autoscaler(params.serving_app, params.ingress)
    if limit is not None and spent >= limit:
        # Told first: a schedule that fires meanwhile leaves the app alone.
        held = hold.get()
        hold.put(datetime.fromisoformat(held["since"]) if held else now, spent, limit)
        changed = autoscaler.update(**AT_ZERO)
        print(f"{told}: {'scaled to zero' if changed else 'is at zero already'}", flush=True)
        raise OverBudget(
            f"{told}, which is over budget.scaleToZeroAtUsd (${limit:,.2f}): {params.serving_app} has no warm replicas "
            "until the month is over; a request still starts one, at most one at a time. Next: pulumi config set "
            f"--path budget.scaleToZeroAtUsd {2 * limit:g} && pulumi up; to end all spend: modal app stop "
            f"{params.serving_app}"
        )
    if hold.get() is not None:
        scaling = params.scaling
        count = params.schedule.count_at(now) if params.schedule else None
        autoscaler.update(
            min_containers=scaling.min_containers if count is None else count,
            max_containers=scaling.max_containers,
            buffer_containers=scaling.buffer_containers,
            scaledown_window=scaling.scaledown_window,
        )
        hold.clear()
        print(f"{told}: scaling is as configured again", flush=True)
    if spent >= budget.max_monthly_usd:
        then = f"at ${limit:,.2f} it is scaled to zero" if limit is not None else "nothing else happens"
        raise OverBudget(
            f"{told}; {then}. Next: modal billing report --for 'this month', fewer warm replicas (docs/scaling.md), or "
            f"pulumi config set --path budget.maxMonthlyUsd {2 * budget.max_monthly_usd:g} && pulumi up"
        )
    print(told, flush=True)
    return {"spent": spent, "held": False}


def spent_in(params: SpendParams, now: datetime) -> float:
    """USD of the stack's apps from the first of the month (UTC) to the last full hour, as Modal has metered it."""
    import modal

    start, _ = month_of(now)
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if end <= start:
        return 0.0
    rows = modal.Workspace.from_context().billing.report(start=start, end=end, resolution="h", tag_names=[STACK_TAG])
    return sum_of(rows, params.stack)


def sum_of(rows: Iterable[Any], stack: str) -> float:
    """USD of the rows that carry the stack's tag: every app that the stack has ever deployed, stopped ones too."""
    return float(sum(row.cost for row in rows if row.tags.get(STACK_TAG) == tag_of(stack)))
