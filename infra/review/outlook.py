"""What a bare `pulumi preview` can say of a stack: all of a review but the changes, which only the engine knows."""

from __future__ import annotations

from datetime import UTC, datetime

from infra.configuration import Configuration, describe
from infra.review import facts
from infra.review.table import labelled
from infra.settings import Settings


def outlook(settings: Settings) -> str:
    """A text of several lines. Prices are the recipe's."""
    configuration = Configuration.model_validate(describe(settings))
    prices, today = configuration.recipe.prices, datetime.now(UTC).date()
    lines = [
        *labelled("Replicas", facts.replica_lines(configuration, None)),
        *labelled("A month", facts.month_lines(configuration, None, today)),
        *labelled("Budget", facts.budget_lines(configuration, today)),
        *labelled("Memory", facts.memory_lines(configuration)),
        *labelled("Prices", [f"{prices.source} of {prices.as_of}; `make preview` asks Modal, tells why and how long"]),
    ]
    return "\n".join(lines)
