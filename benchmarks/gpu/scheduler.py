"""What SGLang's scheduler says of its own speed: no client, no gate and no waiting request is in it."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict

_BATCH = re.compile(r"(Prefill|Decode) batch, (.*)")
_RUNNING = re.compile(r"#running-req: (\d+),")
_ACCEPTED = re.compile(r"accept len: ([\d.]+),")
_SPEED = re.compile(r"gen throughput \(token/s\): ([\d.]+)")


def decoding(log: str) -> dict[str, dict[str, float]]:
    """By number of running requests: `tokens_per_second` of all together, the median of the log's lines; `accepted`,
    tokens of a request in a step, 1 without drafts; `step_ms`, what one step took.

    A line is about the time since the one before. It counts if that was about as many requests, with no prompt between.
    """
    lines: dict[int, list[tuple[float, float]]] = defaultdict(list)
    before = 0
    for kind, text in _BATCH.findall(log):
        running, speed = _RUNNING.search(text), _SPEED.search(text)
        if kind == "Prefill" or not running or not speed:
            before = 0
            continue
        count = int(running[1])
        if count == before:
            accepted = _ACCEPTED.search(text)
            lines[count].append((float(speed[1]), float(accepted[1]) if accepted else 1.0))
        before = count
    found: dict[str, dict[str, float]] = {}
    for count, measured in sorted(lines.items()):
        speeds, accepted_lengths = (statistics.median(values) for values in zip(*measured, strict=True))
        found[str(count)] = {
            "tokens_per_second": round(speeds, 1),
            "accepted": round(accepted_lengths, 2),
            "step_ms": round(1000 * count * accepted_lengths / speeds, 2),
            "lines": len(measured),
        }
    return found
