"""Ours beside the stock way, in one run on one machine: time to ready, the first requests, steady speed."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.gpu.artifact import stock_kernels
from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.faults import scheduler_killed, sigterm_under_load
from benchmarks.gpu.load import Target, all_at_once, mixed_sizes, one_after_the_other, streams
from benchmarks.gpu.record import own_metrics, record
from benchmarks.gpu.secrecy import ArgumentsWatch, engine_environments_with
from benchmarks.gpu.servers import Ours, Stock, files_outside, left_outside
from serving.kernel_proof import changes
from serving.manifest import sha256_of

_LEVELS = (1, 8, 32, 48)
_TURNS = 3
_REQUESTS = 3
"""Of each client in each turn."""


def compare(bench: Bench) -> None:
    """Stock starts and answers alone; then ours starts beside it, idle; then both are asked in turns.

    Ours has the harder part in each: it starts with the other's process still polling, checks a key, and its time to
    ready includes four warm-up requests.
    """
    result: dict[str, Any] = {}
    port = bench.recipe.port
    with Stock(bench, "stock", kernels=stock_kernels(bench), port=port + 100) as stock:
        result["stock"] = {"ready": stock.wait_ready(), **_first_requests(stock.target, 10_000)}
        bench.save("compare", result)
        with ArgumentsWatch(bench.api_key) as arguments, Ours(bench, "ours-beside-stock") as ours:
            result["ours_beside_stock"] = {"ready": ours.wait_ready(), **_first_requests(ours.target, 20_000)}
            bench.save("compare", result)
            result["steady"] = _steady({"stock": stock.target, "ours": ours.target})
            bench.save("compare", result)
            text, lines = own_metrics(ours.target)
            (bench.results / "metrics.txt").write_text(text, encoding="utf-8")
            result["own_metrics"] = lines
            bench.save("behind-the-gate", record(ours.target))
            below = [pid for pid in ours.descendants() if pid != ours.process.pid]
            result["secrecy"] = {"engine_environments": engine_environments_with(bench.api_key, below)}
            bench.save("fault-sigterm-under-load", sigterm_under_load(ours))
        result["secrecy"]["arguments"] = arguments.result()
    bench.save("compare", result)


def start_alone(bench: Bench) -> None:
    """Ours once more, with the machine to itself: the start that is put beside the stock one's."""
    with Ours(bench, "ours-alone") as ours:
        result = {"ready": ours.wait_ready(), **_first_requests(ours.target, 30_000)}
        result["left_outside"] = left_outside(bench, "ours-alone")
        bench.save("alone", result)
        bench.save("fault-scheduler-killed", scheduler_killed(ours))


def start_again(bench: Bench) -> None:
    """Ours with the home and temporary files that its start alone left: what caches outside the artifact are worth."""
    before = {where: sha256_of(path) for where, path in files_outside(bench, "ours-alone").items()}
    with Ours(bench, "ours-again", machine_of="ours-alone") as ours:
        result = {"ready": ours.wait_ready(), "exit_status": ours.stop()}
    after = {where: sha256_of(path) for where, path in files_outside(bench, "ours-alone").items()}
    bench.save("again", {**result, "files_before": len(before), "new_or_changed": changes(before, after)})


def _first_requests(target: Target, seed: int) -> dict[str, Any]:
    """The first 50 after ready, the same sizes again (steady by then), then 48 at once, twice."""
    sizes = mixed_sizes()
    early = one_after_the_other(target, sizes, seed)
    later = [one_after_the_other(target, sizes, seed + n) for n in (100, 200)]
    steady = [min(pair) for pair in zip(*later, strict=True)]
    together = [all_at_once(target, sizes[:48], seed + n) for n in (300, 400)]
    slowest = max(range(len(sizes)), key=lambda i: early[i])
    result = {
        "sizes": sizes,
        "early_seconds": early,
        "steady_seconds": steady,
        "slowest_early": early[slowest],
        "slowest_early_tokens": sizes[slowest],
        "slowest_steady": max(steady),
        "worst_ratio": round(max(e / s for e, s in zip(early, steady, strict=True)), 2),
        "together_first_then_steady": together,
    }
    say(
        f"first 50: slowest {result['slowest_early']} s ({sizes[slowest]} tokens), later {result['slowest_steady']} s; "
        f"worst ratio {result['worst_ratio']}; 48 at once {together}"
    )
    return result


def _steady(targets: dict[str, Target]) -> dict[str, Any]:
    """Medians over turns; who begins alternates."""
    found: dict[str, Any] = {}
    seed = 100_000
    for count in _LEVELS:
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
        for turn in range(_TURNS + 1):
            for name in sorted(targets, reverse=bool(turn % 2)):
                seed += 1000
                measured = streams(targets[name], count, _REQUESTS, seed)
                if turn:  # the first one settles the clocks and the batch's graphs
                    turns[name].append(measured)
        level: dict[str, Any] = {
            name: {key: round(statistics.median(turn[key] for turn in measured), 3) for key in measured[0]}
            for name, measured in turns.items()
        }
        level["turns"] = turns
        stock, ours = level["stock"], level["ours"]
        level["ours_to_stock"] = {
            "ttft": round(stock["ttft_ms"] / ours["ttft_ms"], 4),
            "tpot": round(stock["tpot_ms"] / ours["tpot_ms"], 4),
            "tokens_per_second": round(ours["tokens_per_second"] / stock["tokens_per_second"], 4),
        }
        found[str(count)] = level
        say(f"{count} streams: ours {ours}, stock {stock}, speed ratios {level['ours_to_stock']}")
    return found
