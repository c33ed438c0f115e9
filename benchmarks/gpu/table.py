"""The results of one benchmark as Markdown tables, each row with what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.bench import Bench


def markdown(bench: Bench) -> str:
    prepare = bench.load("prepare")
    parts = [_machine(prepare)] if prepare else []
    names = {
        "stock": "stock",
        "ours": "ours",
        "bare": "ours without supervisor",
        "again": "ours, files of its first start",
    }
    if servers := {title: found for name, title in names.items() if (found := bench.load(name))}:
        parts.append(_starts(servers))
    if steady := bench.load("steady"):
        parts.append(_steady(steady))
    if faults := {path.stem: bench.load(path.stem) for path in sorted(bench.results.glob("fault-*.json"))}:
        parts.append(_faults(faults))
    return "\n\n".join(parts)


def _machine(prepare: dict[str, Any]) -> str:
    machine = prepare["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['gpus']} × {machine['gpu']} ({machine['gpu_memory_gib']} GiB, driver {machine['driver']}), "
        f"Python {machine['python']}, {versions}; {machine['date']}"
    )


def _starts(servers: dict[str, dict[str, Any]]) -> str:
    rows = [f"| | {' | '.join(servers)} |", "| --- |" + " --- |" * len(servers)]

    def row(name: str, value: Callable[[dict[str, Any]], str]) -> None:
        rows.append(f"| {name} | {' | '.join(value(server) for server in servers.values())} |")

    row("ready after", lambda server: f"{server['ready']['seconds']:g} s")
    if stock := servers.get("stock"):
        row("stock's time ÷ this", lambda server: f"{stock['ready']['seconds'] / server['ready']['seconds']:.2f}")
    row("slowest of the first 50 requests", lambda server: f"{server['slowest_early']:g} s")
    row("slowest of the same sizes later", lambda server: f"{server['slowest_steady']:g} s")
    row("slowest early ÷ slowest later", lambda server: f"{server['slowest_early'] / server['slowest_steady']:.2f}")
    row("worst early ÷ later, size by size", lambda server: f"{server['worst_ratio']:.2f}")
    row("requests of the 50 that took over twice as long as later", lambda server: f"{server['over_twice_later']}")
    for n, when in enumerate(("first", "second")):
        row(f"48 of them at once, {when} time", lambda server, n=n: f"{server['together_first_then_steady'][n]:g} s")
    for key, what in (("first_50", "the first 50"), ("48_at_once", "48 at once, twice")):
        row(f"kernels compiled in {what}", lambda server, key=key: f"{sum(server['compiled'][key].values())}")
    return "\n".join(rows)


def _steady(steady: dict[str, Any]) -> str:
    """Ratios: more than 1 where the second server is faster; in brackets the noise, between turns of one server."""
    one, other = [name for name in next(iter(steady.values())) if name not in ("ratio", "noise")]
    rows = [
        f"| streams | turns | TTFT {one} · {other} | TPOT {one} · {other} | tokens/s {one} · {other} "
        "| ratio TTFT (noise) | ratio TPOT (noise) | ratio tokens/s (noise) |",
        "| --- |" + " --- |" * 7,
    ]
    keys = ("ttft_ms", "tpot_ms", "tokens_per_second")
    for count, level in steady.items():
        figures = [
            f"{level[one][key]:.{digits}f} · {level[other][key]:.{digits}f}"
            for key, digits in zip(keys, (1, 2, 0), strict=True)
        ]
        ratios = [
            f"{level['ratio'][key]:.3f} ({', '.join(f'{noise[key]:.3f}' for noise in level['noise'].values())})"
            for key in keys
        ]
        cells = [count, f"{len(level[one]['turns'])}", figures[0] + " ms", figures[1] + " ms", figures[2], *ratios]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _faults(faults: dict[str, dict[str, Any]]) -> str:
    rows = ["| fault | container's status | after | processes left | said |", "| --- | --- | --- | --- | --- |"]
    for name, fault in faults.items():
        said = "<br>".join(fault["said"][:2]).replace("|", "\\|")[:400]
        rows.append(
            f"| {name.removeprefix('fault-')} | {fault['container_status']} | {fault['seconds_to_the_end']} s "
            f"| {fault.get('processes_left', '–')} | {said} |"
        )
    return "\n".join(rows)
