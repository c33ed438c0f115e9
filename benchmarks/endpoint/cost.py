"""What a sweep is going to take and to cost, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.dynamic import money


@dataclass(frozen=True)
class Pricing:
    """Of one replica, and how many of them a load makes Modal start."""

    replica_hour: float | None
    """USD; None where nobody said."""
    target_concurrency: int = 20
    max_replicas: int = 1
    start_seconds: float = 0
    """That a cold start usually takes; 0 where a replica is always up."""
    idle_seconds: float = 0
    """For which replicas stay up afterwards, and are paid for."""
    note: str = ""

    def replicas(self, streams: int) -> int:
        return max(1, min(self.max_replicas, math.ceil(streams / self.target_concurrency)))


@dataclass(frozen=True)
class Estimate:
    seconds: float
    """Until the results are there, cold start included."""
    replica_seconds: float
    """Of all replicas, until the last one is down again."""
    usd: float | None

    def to_json(self) -> dict[str, float | None]:
        usd = None if self.usd is None else round(self.usd, 2)
        return {"seconds": round(self.seconds), "replicaSeconds": round(self.replica_seconds), "usd": usd}


def estimate(pricing: Pricing, streams: Sequence[int], seconds: float) -> Estimate:
    """Levels in the order given; replicas that one has started serve the next ones too. At most: whatever replicas are
    up already are paid for anyway."""
    up = 0
    total = replica = 0.0
    for count in streams:
        needed = max(up, pricing.replicas(count))
        if up == 0:
            total += pricing.start_seconds
        replica += (needed - up) * pricing.start_seconds + needed * seconds
        total += seconds
        up = needed
    replica += up * pricing.idle_seconds
    usd = None if pricing.replica_hour is None else pricing.replica_hour * replica / 3600
    return Estimate(total, replica, usd)


def in_words(pricing: Pricing, streams: Sequence[int], seconds: float) -> str:
    found = estimate(pricing, streams, seconds)
    most = max(pricing.replicas(count) for count in streams)
    text = f"{len(streams)} levels of {seconds:g} s, about {found.seconds / 60:.1f} min"
    if pricing.start_seconds:
        text += " with a cold start"
    text += f"; up to {most} {'replica' if most == 1 else 'replicas'}"
    if found.usd is None:
        return f"{text} at a price that is not known: --usd-per-hour N says it{pricing.note}"
    text += f" at {money(pricing.replica_hour or 0)}/h each"
    if pricing.idle_seconds:
        text += f", {pricing.idle_seconds:g} s idle afterwards"
    return f"{text}: about {money(found.usd)}{pricing.note}"
