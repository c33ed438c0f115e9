"""Ours and the stock way, each with the machine to itself: time to ready, the first requests. Then steady speed through
the supervisor beside the same engine without it, once or with one server of each kind after another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gpu.artifact import stock_kernels
from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.caches import Watched
from benchmarks.gpu.faults import scheduler_killed, sigterm_under_load
from benchmarks.gpu.load import Target, all_at_once, mixed_sizes, one_after_the_other
from benchmarks.gpu.record import own_metrics, record
from benchmarks.gpu.secrecy import ArgumentsWatch, engine_environments_with
from benchmarks.gpu.servers import Ours, Plain, bare_server, files_outside, left_outside, stock_server
from benchmarks.gpu.steady import pooled, steady
from serving.kernel_proof import changes
from serving.manifest import sha256_of


def start_stock(bench: Bench) -> None:
    """The stock way."""
    kernels = stock_kernels(bench)
    with stock_server(bench, kernels=kernels, port=bench.recipe.port + 100) as stock:
        ready = stock.wait_ready()
        bench.save("stock", {"ready": ready, **_first_requests(bench, stock.name, stock.target, 10_000, kernels)})


def start_ours(bench: Bench) -> None:
    """Ours; then the bare engine beside it, and both are asked in turns; then SIGTERM to ours under load."""
    kernels = Path(bench.recipe.kernel_path(bench.kernel_key))
    with ArgumentsWatch(bench.api_key) as arguments, Ours(bench, "ours") as ours:
        result = {"ready": ours.wait_ready(), **_first_requests(bench, ours.name, ours.target, 20_000, kernels)}
        result["left_outside"] = left_outside(bench, ours.name)
        bench.save("ours", result)
        with bare_server(bench, port=bench.recipe.port + 100) as bare:
            found = {"ready": bare.wait_ready(), **_first_requests(bench, bare.name, bare.target, 30_000, kernels)}
            bench.save("bare", found)
            for figures in steady((bare.name, bare.target), (ours.name, ours.target)):
                bench.save("steady", figures)
            text, lines = own_metrics(ours.target)
            (bench.results / "metrics.txt").write_text(text, encoding="utf-8")
            bench.save("behind-the-gate", record(ours.target))
            below = [pid for pid in ours.descendants() if pid != ours.process.pid]
            environments = engine_environments_with(bench.api_key, below)
        bench.save("fault-sigterm-under-load", sigterm_under_load(ours))
    result["own_metrics"] = lines
    result["secrecy"] = {"engine_environments": environments, "arguments": arguments.result()}
    bench.save("ours", result)


def start_again(bench: Bench) -> None:
    """Ours with the home and temporary files that its first start left: what caches outside the artifact are worth.
    Then its scheduler is killed."""
    kernels = Path(bench.recipe.kernel_path(bench.kernel_key))
    before = {where: sha256_of(path) for where, path in files_outside(bench, "ours").items()}
    with Ours(bench, "ours-again", machine_of="ours") as ours:
        result = {"ready": ours.wait_ready(), **_first_requests(bench, "ours", ours.target, 40_000, kernels)}
        after = {where: sha256_of(path) for where, path in files_outside(bench, "ours").items()}
        bench.save("again", {**result, "files_before": len(before), "new_or_changed": changes(before, after)})
        bench.save("fault-scheduler-killed", scheduler_killed(ours))


def start_in_turns(bench: Bench, servers: int) -> None:
    """Bare and ours one after another, each measured beside the one before it and the one after it: what differs
    between processes of one kind is not taken for the supervisor's. All have what the first start of ours left in its
    home and temporary folder, so Inductor's tuning is the same. Each of ours ends with its scheduler killed."""
    pairs: list[dict[str, Any]] = []
    before: Ours | Plain | None = None
    with ExitStack() as started:
        for number in range(servers):
            server: Ours | Plain
            if number % 2:
                server = Ours(bench, f"ours-{number}", machine_of="ours")
            else:
                server = bare_server(bench, port=bench.recipe.port + 100, name=f"bare-{number}", machine_of="ours")
            started.enter_context(server)
            bench.save(f"ready-{server.name}", server.wait_ready())
            if before:
                bare, ours = (before, server) if isinstance(server, Ours) else (server, before)
                *_, figures = steady((bare.name, bare.target), (ours.name, ours.target))
                pairs.append(figures)
                bench.save("in-turns", {"pairs": pairs, "pooled": pooled(pairs)})
                _end(bench, before)
            before = server
        if before:
            _end(bench, before)


def _end(bench: Bench, server: Ours | Plain) -> None:
    if isinstance(server, Ours):
        bench.save("fault-scheduler-killed", scheduler_killed(server))
    server.kill()


def _first_requests(bench: Bench, name: str, target: Target, seed: int, kernels: Path) -> dict[str, Any]:
    """The first 50 after ready, the same sizes again (steady by then), then 48 at once, twice; and what was compiled
    meanwhile into `kernels`, home and temporary folder of the server `name`."""
    sizes = mixed_sizes()
    caches = Watched(bench, name, kernels)
    early = one_after_the_other(target, sizes, seed)
    compiled = {"first_50": caches.news()}
    later = [one_after_the_other(target, sizes, seed + n) for n in (100, 200)]
    steady_seconds = [min(pair) for pair in zip(*later, strict=True)]
    compiled["same_sizes_later"] = caches.news()
    together = [all_at_once(target, sizes[:48], seed + n) for n in (300, 400)]
    compiled["48_at_once"] = caches.news()
    slowest = max(range(len(sizes)), key=lambda i: early[i])
    result = {
        "sizes": sizes,
        "early_seconds": early,
        "steady_seconds": steady_seconds,
        "slowest_early": early[slowest],
        "slowest_early_tokens": sizes[slowest],
        "slowest_steady": max(steady_seconds),
        "worst_ratio": round(max(e / s for e, s in zip(early, steady_seconds, strict=True)), 2),
        "over_twice_later": sum(e > 2 * s for e, s in zip(early, steady_seconds, strict=True)),
        "together_first_then_steady": together,
        "compiled": compiled,
    }
    say(
        f"{name}: slowest of the first 50 {early[slowest]} s ({sizes[slowest]} tokens), later {max(steady_seconds)} s, "
        f"so {early[slowest] / max(steady_seconds):.2f}; worst ratio {result['worst_ratio']}; 48 at once {together}; "
        f"compiled {compiled}"
    )
    return result
