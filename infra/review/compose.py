"""From what the engine says of a preview to a review of it."""

from __future__ import annotations

from datetime import date
from typing import Any

from pydantic import ValidationError

from components.modal_rates import Rates, priced
from infra.configuration import Change, Configuration, changes
from infra.review import facts
from infra.review.durations import dollars, minutes, sum_of_money
from infra.review.efforts import Effort, effort, replaced_version, with_what_follows
from infra.review.events import Preview, Step
from infra.review.reasons import reasons
from infra.review.table import Review, Row

_MOST_REASONS = 6
_ORDER = ("weights-volume", "kernels-volume", "hf-secret", "api-key", "api-secret", "pipeline", "weights", "kernels",
          "verification", "app", "smoke-test", "release-record", "schedule", "spend-check")  # fmt: skip
"""As things become ready; what is not among them comes last."""


def compose(
    stack: str, preview: Preview, *, rates: Rates | None, why_no_rates: str, no_policies: str, today: date
) -> Review:
    """`preview.after` must be there: the program got to its end."""
    assert preview.after is not None
    new = _priced(Configuration.model_validate(preview.after), rates)
    old = _read(preview.before, rates)
    changed = changes(preview.before, preview.after) if preview.before else []
    steps = sorted(
        with_what_follows(preview.steps),
        key=lambda step: _ORDER.index(step.name) if step.name in _ORDER else len(_ORDER),
    )
    rows = [_row(step, changed, new, old, new_stack=preview.before is None) for step in steps if step.kind != "none"]
    total = _total(rows)
    review = Review(
        stack=stack,
        headline=_headline(rows, total, new, old, today),
        rows=rows,
        unchanged=[step.name for step in steps if step.kind == "none"],
        total=total,
    )
    shown = {reason for row in rows for reason in row.why}
    silent = [str(change) for change in changed if str(change) not in shown]
    if preview.before and silent and not any("more" in reason for reason in shown):
        review.facts.append(("Settings", ["changed with no step of their own: " + "; ".join(silent[:_MOST_REASONS])]))
    if app := next((step for step in steps if replaced_version(step)), None):
        rotates = any(step.name == "api-secret" and step.kind != "none" for step in steps)
        moved = app.kind == "replace"
        review.facts.append(("Cut-over", facts.cut_over_lines(new, old, changed, rotates_key=rotates, moved=moved)))
    warnings = [text.removeprefix("warning: ") for severity, text in preview.messages if severity == "warning"]
    review.facts += [
        ("Replicas", facts.replica_lines(new, old)),
        ("A month", facts.month_lines(new, old, today)),
        ("Budget", facts.budget_lines(new, today)),
        ("Memory", facts.memory_lines(new)),
        ("Flags", facts.flag_lines(new, warnings)),
        ("Prices", [_price_source(new, rates, why_no_rates)]),
        ("Policies", _policy_lines(preview, no_policies)),
    ]
    return review


def _row(step: Step, changed: list[Change], new: Configuration, old: Configuration | None, *, new_stack: bool) -> Row:
    found = effort(step, new, old)
    why = reasons(step, changed, new, new_stack=new_stack)
    if len(why) > _MOST_REASONS:
        why = [*why[: _MOST_REASONS - 1], f"and {len(why) - _MOST_REASONS + 1} more settings"]
    return Row(step.name, found.word or step.kind, why, found)


def _total(rows: list[Row]) -> Effort:
    """One after the other, which is what the long ones are."""

    efforts = [row.effort for row in rows]
    return Effort(
        (sum(each.seconds[0] for each in efforts), sum(each.seconds[1] for each in efforts)),
        (sum(each.dollars[0] for each in efforts), sum(each.dollars[1] for each in efforts)),
    )


def _headline(rows: list[Row], total: Effort, new: Configuration, old: Configuration | None, today: date) -> str:
    if not rows:
        return "nothing changes"
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.change] = counts.get(row.change, 0) + 1
    what = ", ".join(f"{count} {word}" for word, count in counts.items())
    once = dollars(total.dollars)
    monthly = facts.month(new, today).expected
    then = f"{sum_of_money(monthly)} a month expected"
    if old is not None and round(facts.month(old, today).expected) == round(monthly):
        then += ", as before"
    return f"{what} · {minutes(total.seconds)} · {'nothing' if once == '–' else once} once · {then}"


def _price_source(new: Configuration, rates: Rates | None, why_no_rates: str) -> str:
    prices = new.recipe.prices
    if rates is not None and prices.as_of == rates.as_of:
        return f"{prices.source}, asked on {prices.as_of}"
    return f"the recipe's: {prices.source} of {prices.as_of}; not Modal's own: {why_no_rates}"


def _policy_lines(preview: Preview, no_policies: str) -> list[str]:
    from infra.policies.rules import RULES

    if not preview.policies:
        return [f"NOT RUN: {no_policies}"]
    broken = {name for name, _, _ in preview.violations}
    lines = [f"{len(RULES) - len(broken)} of {len(RULES)} hold"]
    for name, level, text in sorted(preview.violations, key=lambda found: found[1] != "mandatory"):
        found = text.splitlines()[-1].strip().removeprefix(f"{name}: ")  # behind the policy's description
        lines.append(f"{'STOPS' if level == 'mandatory' else 'remark'}  {name}: {found}")
    return lines


def _read(document: dict[str, Any] | None, rates: Rates | None) -> Configuration | None:
    """What an older version of this project wrote may say less than is needed."""
    try:
        return _priced(Configuration.model_validate(document), rates) if document else None
    except ValidationError:
        return None


def _priced(configuration: Configuration, rates: Rates | None) -> Configuration:
    return configuration.model_copy(update={"recipe": priced(configuration.recipe, rates)})
