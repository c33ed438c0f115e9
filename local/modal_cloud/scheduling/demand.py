"""How many containers a pool should have. Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modal_proto import api_pb2

DEFAULT_SCALEDOWN_WINDOW = 60
"""Seconds, as on Modal."""


@dataclass(frozen=True)
class Scaling:
    """Effective autoscaler settings in plain numbers."""

    minimum: int
    maximum: int | None
    buffer: int
    """Idle containers kept beyond what the demand needs, while there is demand."""
    scaledown_window: float
    """Seconds that a container must have been idle before it is stopped."""
    per_container: float
    """Inputs or requests at once that one container is meant to take; infinite: demand never asks for a second."""
    scaleup_window: float = 0.0
    """Seconds that demand must have lasted before further containers are added to those that are there."""

    def containers_for(self, demand: int) -> int:
        """`demand` counts inputs or requests, waiting and running."""
        needed = 0
        if demand > 0:
            needed = max(1, math.ceil(demand / self.per_container)) + self.buffer
        needed = max(needed, self.minimum)
        return needed if self.maximum is None else min(needed, self.maximum)


class SustainedDemand:
    """The scale-up window of one pool. The first container is started at once: requests wait for it."""

    def __init__(self) -> None:
        self._since: float | None = None

    def containers_now(self, wanted: int, existing: int, scaling: Scaling, now: float) -> tuple[int, float]:
        """Of the containers wanted those that are due at `now` (seconds of a steady clock), and the seconds until more
        of them are; infinity where none is held back."""
        kept = max(existing, scaling.minimum)
        if not existing or wanted <= kept:
            self._since = None
            return wanted, math.inf
        self._since = now if self._since is None else self._since
        left = self._since + scaling.scaleup_window - now
        return (kept, left) if left > 0 else (wanted, math.inf)


def scaling_of(settings: api_pb2.AutoscalerSettings, function: api_pb2.Function) -> Scaling:
    """From effective settings (unset fields: Modal's defaults) and the definition."""
    if function.is_server:
        # A target of 0 (and none at all) switches scaling by concurrency off.
        target = settings.target_concurrency_float or float(settings.target_concurrency) or math.inf
    else:
        target = float(function.target_concurrent_inputs or function.max_concurrent_inputs or 1)
        target *= max(1, function.batch_max_size)
    return Scaling(
        minimum=settings.min_containers,
        maximum=settings.max_containers or None,
        buffer=settings.buffer_containers,
        scaledown_window=float(settings.scaledown_window or DEFAULT_SCALEDOWN_WINDOW),
        per_container=target,
        scaleup_window=float(settings.scaleup_window),
    )
