"""What a review says below its table: cut-over, capacity, money, memory, flags."""

from __future__ import annotations

from datetime import date

from infra.configuration import Change, Configuration
from infra.costs import (
    BUSINESS_HOURS,
    MONTH_DAYS,
    STRATEGIES,
    TRAFFIC_HOURS,
    cut_over,
    least_and_most_an_hour,
    month,
    replica_hour,
    warm_hours,
)
from infra.review.durations import dollars, minutes, sum_of_money
from recipes.flags import catalogue
from recipes.memory_fit import fit_memory
from recipes.memory_plan import GIB
from serving.errors import ServingError


def cut_over_lines(
    configuration: Configuration, old: Configuration | None, changes: list[Change], *, rotates_key: bool, moved: bool
) -> list[str]:
    """Of a new version that takes the place of one that serves; `moved`: as an app of its own."""
    over, gpu = cut_over(configuration, old), configuration.recipe.gpu
    node = f"{gpu.count}×{gpu.type}"
    (least, most), start = over.extra, minutes(over.seconds)
    if moved and any(change.key == "routingRegion" for change in changes):
        lines = [
            f"the app is deleted first (Modal fixes its routing region with the first deploy): no service for {start}"
        ]
    elif configuration.deployment_strategy == "recreate":
        lines = [f"recreate: the old replicas end first, so nobody is served for {start}; no node more"]
    else:
        nodes = f"{least} to {most} nodes" if most > least else f"{most} node{'s' if most > 1 else ''}"
        rest = ", the fewest where none runs at rest" if over.before[0] == 0 and most > least else ""
        lines = [
            f"rolling: what serves goes on until the new version is warm ({start}); until then {nodes} of {node} more"
            f"{rest}, {2 * most * gpu.count} GPUs at once at the most; running both costs {dollars(over.dollars)}"
        ]
    if moved:
        lines.append("another app: its URL is another, which clients must be told; the old one stops afterwards")
    if rotates_key:
        grace = configuration.api_key_grace
        lines.append(
            f"both API keys are accepted for {grace / 3600:g} h (apiKeyGrace), so no client is refused"
            if grace
            else "apiKeyGrace is 0: each client is refused from the moment its replica has the other key"
        )
    if any(change.key == "model.revision" or change.key == "model.repo" for change in changes):
        kept = "kept on the volume (retainWeights)" if configuration.retain_weights else "deleted afterwards"
        lines.append(f"the weights before are {kept}; until then the volume holds both")
    return lines


def replica_lines(new: Configuration, old: Configuration | None) -> list[str]:
    scaling, gpu = new.scaling, new.recipe.gpu
    counts = sorted(warm_hours(new, date.today()))
    least = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} or {counts[-1]} by schedule"
    low, high = least_and_most_an_hour(new)
    was = ""
    if old is not None and least_and_most_an_hour(old) != (low, high):
        before = least_and_most_an_hour(old)
        was = f" (was {sum_of_money(before[0])}/h to {sum_of_money(before[1])}/h)"
    lines = [
        f"{least} to {scaling.max_containers} of {gpu.count}×{gpu.type} at {sum_of_money(replica_hour(new))}/h each: "
        f"{sum_of_money(low)}/h at min, {sum_of_money(high)}/h at max{was}; "
        f"down after {scaling.scaledown_window} s idle"
    ]
    flags_take = _requests_a_replica(new)
    per_replica = min(scaling.max_concurrency or scaling.target_concurrency, flags_take or 10**9)
    limit = f"; the engine takes {flags_take} each" if flags_take else ""
    lines.append(
        f"{per_replica * scaling.max_containers} requests at once (targetConcurrency {scaling.target_concurrency} × "
        f"{scaling.max_containers}{limit})"
    )
    return lines


def _requests_a_replica(configuration: Configuration) -> int | None:
    try:
        return fit_memory(configuration.recipe).requests
    except ServingError:
        return None


def month_lines(new: Configuration, old: Configuration | None, today: date) -> list[str]:
    ours, price = month(new, today), replica_hour(new)
    was = ""
    if old is not None and round(month(old, today).expected) != round(ours.expected):
        was = f" (was {sum_of_money(month(old, today).expected)})"
    count = new.scaling.max_containers
    everything = f"all {count} replicas" if count > 1 else "the one replica"
    lines = [
        f"this stack      {sum_of_money(ours.expected):>9}{was}, {sum_of_money(ours.idle)} if nobody asks, "
        f"{sum_of_money(ours.most)} with {everything} all the time"
    ]
    for name, (hours, meaning) in STRATEGIES.items():
        lines.append(f"{name:<14}  {sum_of_money(hours * price):>9}  {hours:.0f} h of one replica, {meaning}")
    lines.append(
        f"assumes months of {MONTH_DAYS:.1f} days; {TRAFFIC_HOURS / MONTH_DAYS:.0f} h of requests a day, in warm hours "
        f"first, answered by one replica; business hours Mon–Fri 6–23 ({BUSINESS_HOURS:.0f} h); GPUs only"
    )
    return lines


def budget_lines(new: Configuration, today: date) -> list[str]:
    if new.budget is None:
        return ["none; `pulumi config set --path budget.maxMonthlyUsd …` has previews held against it"]
    expected, limit = month(new, today).expected, new.budget.max_monthly_usd
    state = (
        f"{sum_of_money(limit - expected)} below" if expected <= limit else f"{sum_of_money(expected - limit)} ABOVE"
    )
    stop = new.budget.scale_to_zero_at_usd
    end = f"scaled to zero when {sum_of_money(stop)} are spent" if stop else "more is warned of, nothing stopped"
    return [f"{sum_of_money(limit)} a month: the expected {sum_of_money(expected)} is {state} it; {end}"]


def memory_lines(new: Configuration) -> list[str]:
    try:
        fit = fit_memory(new.recipe)
    except ServingError as error:
        return [f"not checked: {error}"]
    draft = f" + draft {fit.draft / GIB:.1f}" if fit.draft else ""
    verdict = "fits" if fit.problem is None else "DOES NOT FIT"
    lines = [
        f"{verdict}: of {fit.memory / GIB:.1f} GiB a GPU weights {fit.weights / GIB:.1f}{draft} + KV "
        f"{fit.pool / GIB:.1f} ({fit.tokens:,} tokens, {new.recipe.kv_cache_dtype}) + margin {fit.margin / GIB:.1f}, "
        f"free {fit.free / GIB:.1f}; {_requests(fit.full_contexts)} of the full {fit.context_tokens:,} tokens at once"
    ]
    if found := fit.problem or fit.caution:
        lines.append(found)
    return lines


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def flag_lines(new: Configuration, warnings: list[str]) -> list[str]:
    engine = new.recipe.engine
    try:
        release = catalogue.load(engine.name, engine.catalogue_release)
    except FileNotFoundError as error:
        return [str(error)]
    named = sum(release.find(flag) is not None for flag in engine.flags)
    nearest = f", the release nearest to {engine.version}" if engine.nearest_release else ""
    state = "no findings" if not warnings else f"{len(warnings)} to know of:"
    return [
        f"{named} of {len(engine.flags)} known to {engine.name} {engine.catalogue_release}{nearest}; {state}",
        *warnings,
    ]
