"""What the two small apps that the clock starts are told at deploy time, as JSON (see serving.params)."""

from __future__ import annotations

from typing import Literal

from serving.budget import Budget
from serving.params import Scaling
from serving.recipe_sections import Data
from serving.schedule import KeepWarm, Schedule


class ScheduleParams(Data):
    app: str
    stack: str = ""
    owner: str = ""
    serving_app: str
    ingress: Literal["web", "server"]
    schedule: Schedule | None = None
    min_containers: int = 0
    """What holds once the schedule has ended."""
    keep_warm: KeepWarm | None = None
    url: str = ""
    """The served endpoint, for the ping."""


class SpendParams(Data):
    app: str
    stack: str
    owner: str = ""
    serving_app: str
    ingress: Literal["web", "server"]
    budget: Budget
    scaling: Scaling
    """What is restored when the month is over."""
    schedule: Schedule | None = None
