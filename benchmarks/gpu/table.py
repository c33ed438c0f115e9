"""The results of one benchmark as Markdown tables, each row with what was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.gpu.bench import Bench


def markdown(bench: Bench) -> str:
    prepare, compared, alone = bench.load("prepare"), bench.load("compare"), bench.load("alone")
    parts = [_machine(prepare)] if prepare else []
    if compared:
        parts += [_starts(compared, alone), _steady(compared["steady"])]
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


def _starts(compared: dict[str, Any], alone: dict[str, Any] | None) -> str:
    servers = {"stock": compared["stock"], "ours beside the idle stock server": compared["ours_beside_stock"]}
    servers |= {"ours alone": alone} if alone else {}
    rows = [f"| | {' | '.join(servers)} | stock ÷ ours |", "| --- |" + " --- |" * (len(servers) + 1)]

    def row(name: str, value: Callable[[dict[str, Any]], float]) -> None:
        found = [value(server) for server in servers.values()]
        rows.append(f"| {name} | {' | '.join(f'{seconds:g} s' for seconds in found)} | {found[0] / found[-1]:.2f} |")

    def ratio(name: str, value: Callable[[dict[str, Any]], float]) -> None:
        rows.append(f"| {name} | {' | '.join(f'{value(server):.2f}' for server in servers.values())} | |")

    row("ready after", lambda server: server["ready"]["seconds"])
    row("slowest of the first 50 requests", lambda server: server["slowest_early"])
    row("slowest of the same sizes later", lambda server: server["slowest_steady"])
    ratio("slowest early ÷ slowest later", lambda server: server["slowest_early"] / server["slowest_steady"])
    ratio("worst early ÷ later, size by size", lambda server: server["worst_ratio"])
    row("48 of them at once, first time", lambda server: server["together_first_then_steady"][0])
    row("48 at once, second time", lambda server: server["together_first_then_steady"][1])
    return "\n".join(rows)


def _steady(steady: dict[str, Any]) -> str:
    rows = [
        "| streams | TTFT stock · ours | TPOT stock · ours | tokens/s stock · ours | stock ÷ ours: TTFT, TPOT | ours ÷ "
        "stock: tokens/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count, level in steady.items():
        stock, ours, ratios = level["stock"], level["ours"], level["ours_to_stock"]
        rows.append(
            f"| {count} | {stock['ttft_ms']:.1f} · {ours['ttft_ms']:.1f} ms "
            f"| {stock['tpot_ms']:.2f} · {ours['tpot_ms']:.2f} ms "
            f"| {stock['tokens_per_second']:.0f} · {ours['tokens_per_second']:.0f} "
            f"| {ratios['ttft']:.3f}, {ratios['tpot']:.3f} | {ratios['tokens_per_second']:.3f} |"
        )
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
