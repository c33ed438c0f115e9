"""What a stack may spend in a month, and at what sum it is scaled to zero."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from serving.recipe_sections import Data


class Budget(Data):
    """USD in a calendar month (UTC, as Modal bills), for everything that runs in the stack's apps."""

    max_monthly_usd: float = Field(gt=0)
    """A preview's policy holds the schedule's estimate against it; the hourly check warns from here on."""
    scale_to_zero_at_usd: float | None = Field(None, gt=0)
    """From here on the check keeps the app at no warm replicas until the month ends; None: it only warns."""

    @field_validator("scale_to_zero_at_usd")
    @classmethod
    def _comes_after_the_warning(cls, value: float | None, info: ValidationInfo) -> float | None:
        warned = info.data.get("max_monthly_usd")
        if value is not None and warned is not None and value < warned:
            raise ValueError(f"must be at least budget.maxMonthlyUsd, which is {warned:g}: first comes the warning")
        return value
