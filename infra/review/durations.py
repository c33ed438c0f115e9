"""Times and sums as a person reads them: as exact as they are known."""

from __future__ import annotations


def minutes(seconds: tuple[float, float]) -> str:
    """`8 min`, `32–63 min`, `< 1 min`; seconds, usually and at the most."""
    usual, most = (round(value / 60) for value in seconds)
    if most < 1:
        return "< 1 min"
    if most >= 120:
        low, high = f"{usual / 60:.1f}", f"{most / 60:.1f}"
        return f"{high} h" if low == high else f"{low}–{high} h"
    return f"{most} min" if usual == most else f"{usual}–{most} min"


def dollars(amounts: tuple[float, float]) -> str:
    """`$23.33`, `$0.00–37.50`, `–` for nothing; usually and at the most."""
    usual, most = amounts
    if most < 0.005:
        return "–"
    if sum_of_money(usual) == sum_of_money(most):
        return sum_of_money(most)
    return f"{sum_of_money(usual)}–{sum_of_money(most).removeprefix('$')}"


def sum_of_money(amount: float) -> str:
    """Cents below $1,000, whole dollars above."""
    return f"${amount:.2f}" if amount < 1000 else f"${amount:,.0f}"
