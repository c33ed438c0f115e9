"""The costs of a stack as text: a table, a session, what was metered, and what all of it assumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from components.modal_rates import Rates
from infra.configuration import Configuration
from infra.costs import BUSINESS_HOURS, MONTH_DAYS, TRAFFIC_HOURS, replica_hour
from infra.costs.bill import Bill
from infra.costs.strategies import Month, Session, Traffic, used
from infra.review.durations import sum_of_money
from infra.review.table import labelled


def lines(
    configuration: Configuration,
    traffic: Traffic,
    windows: Sequence[str],
    rows: Sequence[Month],
    visit: Session,
    metered: Bill | str,
    stack: str,
    rates: Rates | str,
    now: datetime,
) -> Iterator[str]:
    gpu, scaling = configuration.recipe.gpu, configuration.scaling
    yield (
        f"{stack}: {gpu.count}×{gpu.type} at {sum_of_money(replica_hour(configuration))}/h a replica, "
        f"{scaling.max_containers} at the most; requests {', '.join(windows)} ({traffic.timezone})"
    )
    yield ""
    yield _columns("a month", "guide's sum", "billed", "replica hours", "cold starts", "")
    yield _columns(*("─" * width for width in (16, 12, 12, 14, 12)), "─" * 40)
    deadlines = configuration.recipe.deadlines
    wait = deadlines.typical_startup or deadlines.startup
    for row in rows:
        guide = f"{sum_of_money(row.guide_dollars)}" if row.guide_dollars is not None else "–"
        note = f"each {_minutes(wait / 60)} of waiting" if row.cold_starts >= 0.05 else "nobody waits for a start"
        cells = (row.name, guide, sum_of_money(row.dollars), f"{row.hours:,.0f}", f"{row.cold_starts:.1f}", note)
        yield _columns(*cells)
    yield from labelled("A session", [_session(visit)])
    yield from labelled("Metered", _metered(configuration, traffic, metered))
    yield from labelled("Prices", [_prices(configuration, rates)])
    yield from labelled("Assumes", _assumptions(configuration))


def _columns(*cells: str) -> str:
    name, *figures, note = cells
    widths = (12, 12, 14, 12)
    return "  ".join(
        [f"{name:<16}", *(f"{cell:>{width}}" for cell, width in zip(figures, widths, strict=True)), note]
    ).rstrip()


def _minutes(count: float) -> str:
    return f"{round(count, 1):g} min" if count >= 1 else "less than a minute"


def _session(visit: Session) -> str:
    return (
        f"{visit.minutes:g} min: {sum_of_money(visit.working)} for these minutes, {sum_of_money(visit.billed)} with "
        f"the cold start before them ({_minutes(visit.start)}) and the idle hold after them ({_minutes(visit.idle)})"
    )


def _metered(configuration: Configuration, traffic: Traffic, metered: Bill | str) -> list[str]:
    if isinstance(metered, str):
        return [f"nothing to show: {metered}"]
    span = f"{metered.start:%Y-%m-%d %H:%M} to {metered.end:%Y-%m-%d %H:%M} UTC"
    estimate = used(configuration, None, traffic, metered.start, metered.end).hours * replica_hour(configuration)
    told = [f"{sum_of_money(metered.total)} from {span}; this stack's policy at this traffic: {sum_of_money(estimate)}"]
    return told + [f"  {app}: {sum_of_money(cost)}" for app, cost in sorted(metered.apps.items())]


def _prices(configuration: Configuration, rates: Rates | str) -> str:
    prices = configuration.recipe.prices
    told = (
        f"{prices.source} of {prices.as_of}: ${prices.gpu_second:g} for a second of one {configuration.recipe.gpu.type}"
    )
    if configuration.capacity.regions:
        told += f", more in region {' or '.join(configuration.capacity.regions)}"
    return told if isinstance(rates, Rates) else f"{told}; Modal's own: {rates}"


def _assumptions(configuration: Configuration) -> list[str]:
    window = configuration.scaling.scaledown_window
    return [
        f"guide's sum: months of {MONTH_DAYS:.1f} days; {TRAFFIC_HOURS / MONTH_DAYS:.0f} h a day for scale to zero, "
        f"Mon–Fri 6–23 ({BUSINESS_HOURS:.0f} h) for business hours; no idle hold, no request outside of them",
        "billed: the twelve months after this one, to the second: a replica from its first request (a cold start is "
        f"part of the requests' time) until {_minutes(window / 60)} after the last one, warm ones all the time, in "
        "business hours one from 6 to 23; requests outside of warm hours start one",
        "GPUs only: CPU and memory of a replica are less than a hundredth of it; no downloads, compilations, volumes",
    ]
