"""Results as Markdown: the snapshot in the published guide's form, the sweep, and two results side by side."""

from __future__ import annotations

from typing import Any

_SNAPSHOT = (
    ("TPOT (approx.)", "tpotMs", "{:.1f} ms", False),
    ("Decode throughput (aggregate)", "tokensPerSecond", "{:,.0f} tok/s", True),
    ("TTFT (warm, low concurrency)", "ttftMs", "{:.0f} ms", False),
    ("Accept length", "acceptLength", "{:.2f} tokens", True),
    ("Error rate", "errorRate", "{:.2%}", None),
)
"""Label, key, form, and whether more is better; None where a ratio says nothing."""


def markdown(result: dict[str, Any]) -> str:
    snapshot = result["snapshot"]
    rows = ["| | measured |", "| --- | --- |"]
    for label, key, form, _ in _SNAPSHOT:
        at = f" at {snapshot['atStreams']} streams" if key == "tokensPerSecond" else ""
        rows.append(f"| {label} | {_cell(form, snapshot[key])}{at} |")
    return f"{head(result)}\n\n" + "\n".join(rows) + f"\n\n{_sweep(result['levels'])}"


def head(result: dict[str, Any]) -> str:
    """Which endpoint, asked what, when."""
    asked = result["workload"]
    prompts = (
        f"{asked['prompts']} prompts" if "prompts" in asked else f"prompts of about {asked['promptTokens']} tokens"
    )
    what = f"stack {result['stack']}, " if result.get("stack") else ""
    return (
        f"{result['model']} ({what}{result['when'][:16].replace('T', ' ')} UTC): {prompts}, "
        f"{asked['outputTokens']} tokens of answer, {result['levels'][0]['seconds']:g} s a level"
    )


def _sweep(levels: list[dict[str, Any]]) -> str:
    rows = [
        "| streams | TTFT, ms: p50 / p95 / p99 | TPOT, ms: the same | tok/s | requests/s | accept length | failed |",
        "| --- |" + " --- |" * 6,
    ]
    for level in levels:
        errors = f"{level['failed']} of {level['requests']}"
        if level["errors"]:
            errors += f" ({', '.join(f'{count} × {kind}' for kind, count in level['errors'].items())})"
        cells = [
            str(level["streams"]),
            _percentiles(level["ttftMs"], "{:.0f}"),
            _percentiles(level["tpotMs"], "{:.2f}"),
            f"{level['tokensPerSecond']:,.0f}",
            f"{level['requestsPerSecond']:.2f}",
            _cell("{:.2f}", level["acceptLength"]),
            errors,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def comparison(one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]) -> str:
    """The second beside the first: the snapshot, then every level that both have."""
    rows = [f"| Metric | {names[0]} | {names[1]} | Delta |", "| --- | --- | --- | --- |"]
    for label, key, form, more_is_better in _SNAPSHOT:
        before, after = one["snapshot"].get(key), other["snapshot"].get(key)
        rows.append(
            f"| {label} | {_cell(form, before)} | {_cell(form, after)} | {delta(before, after, more_is_better)} |"
        )
    known = {level["streams"]: level for level in one["levels"]}
    for level in other["levels"]:
        if (match := known.get(level["streams"])) is None:
            continue
        for label, form, key, share, more in (
            ("TTFT p95", "{:.0f} ms", "ttftMs", "p95", False),
            ("TPOT p50", "{:.2f} ms", "tpotMs", "p50", False),
            ("tok/s", "{:,.0f}", "tokensPerSecond", None, True),
        ):
            before, after = ((found[key] or {}).get(share) if share else found[key] for found in (match, level))
            rows.append(
                f"| {label}, {level['streams']} streams | {_cell(form, before)} | {_cell(form, after)} "
                f"| {delta(before, after, more)} |"
            )
    return "\n".join(rows)


def delta(before: float | None, after: float | None, more_is_better: bool | None) -> str:
    """`1.25× better`; both must be there and above 0."""
    if more_is_better is None:
        return "–" if before is None or after is None else f"{100 * (after - before):+.2f} points"
    if not before or not after:
        return "–"
    ratio = after / before if more_is_better else before / after
    if 0.995 < ratio < 1.005:
        return "the same"
    return f"{ratio:.2f}× better" if ratio > 1 else f"{1 / ratio:.2f}× worse"


def _cell(form: str, value: float | None) -> str:
    return "–" if value is None else form.format(value)


def _percentiles(found: dict[str, float] | None, form: str) -> str:
    return "–" if found is None else " / ".join(form.format(value) for value in found.values())
