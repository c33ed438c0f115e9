"""What Modal has metered for a stack, to put beside the estimate.

`python -m infra.costs.bill STACK START END` prints it as JSON; whoever wants it within a time limit runs it as a
process of its own, since the SDK goes on trying for a minute where Modal cannot be reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.modal_in_time import NoAnswer, printed_by
from serving.apps.owner import STACK_TAG

PROJECT = "glm-serving"


@dataclass(frozen=True)
class Bill:
    """USD by app, in full hours of that span; before credits and discounts, and without what volumes cost."""

    start: datetime
    end: datetime
    apps: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.apps.values())


def ask_modal(stack: str, start: datetime, end: datetime, seconds: float = 15) -> Bill | str:
    """The bill, or in a few words why there is none. Needs a Modal token that may read the workspace's bill."""
    try:
        printed = printed_by("infra.costs.bill", stack, start.isoformat(), end.isoformat(), seconds=seconds)
    except NoAnswer as error:
        return str(error)
    return Bill(start, end, json.loads(printed))


def by_app(rows: Iterable[Any], stack: str) -> dict[str, float]:
    """USD of the rows whose tag is that stack's, whichever organization its state belongs to."""
    ending = f".{PROJECT}.{stack}"
    apps: dict[str, float] = {}
    for row in rows:
        if row.tags.get(STACK_TAG, "").endswith(ending):
            apps[row.description] = apps.get(row.description, 0.0) + float(row.cost)
    return apps


def main(stack: str, start: str, end: str) -> int:
    import modal

    try:
        rows = modal.Workspace.from_context().billing.report(
            start=datetime.fromisoformat(start).astimezone(UTC),
            end=datetime.fromisoformat(end).astimezone(UTC),
            resolution="h",
            tag_names=[STACK_TAG],
        )
        print(json.dumps(by_app(rows, stack)))
    except modal.exception.AuthError:
        print("no valid Modal token (`modal token new`)", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, the estimate stands without it
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
