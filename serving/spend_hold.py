"""That a stack is kept at zero because its month is spent: what the spend check leaves for the schedule to read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import modal

_HELD = "held"


class SpendHold:
    """Entry of a `modal.Dict` of the stack. It goes after seven days without a check, and checks are hourly."""

    def __init__(self, serving_app: str) -> None:
        self._name = f"{serving_app}-spend"

    def get(self) -> dict[str, Any] | None:
        """`{"since", "spent", "limit"}`, USD; None where nothing is held."""
        try:
            found: dict[str, Any] | None = modal.Dict.from_name(self._name).get(_HELD)
        except modal.exception.NotFoundError:
            return None
        return found

    def put(self, since: datetime, spent: float, limit: float) -> None:
        entries: Any = modal.Dict.from_name(self._name, create_if_missing=True)
        entries[_HELD] = {"since": since.isoformat(timespec="minutes"), "spent": spent, "limit": limit}

    def clear(self) -> None:
        modal.Dict.from_name(self._name, create_if_missing=True).pop(_HELD, None)
