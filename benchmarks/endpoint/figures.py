"""What a level's exchanges come to, as plain data: what is written as JSON, printed, plotted and compared."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.endpoint.drafts import AcceptLength
from benchmarks.endpoint.level import Level

PERCENTILES = (50, 95, 99)


def figures_of(level: Level, accepted: AcceptLength) -> dict[str, Any]:
    """Milliseconds by percentile, tokens and requests a second, errors by kind.

    `ttftMs`, `tpotMs` and `latencyMs` are of whole answers; None where there is none.
    """
    whole = [found for found in level.exchanges if not found.error]
    errors = Counter(found.error for found in level.exchanges if found.error)
    seconds = level.until - level.began
    return {
        "streams": level.streams,
        "seconds": round(seconds, 3),
        "requests": len(level.exchanges),
        "failed": sum(errors.values()),
        "errorRate": round(sum(errors.values()) / len(level.exchanges), 5),
        "errors": dict(errors.most_common()),
        "ttftMs": percentiles([found.time_to_first_token for found in whole]),
        "tpotMs": percentiles([found.time_per_output_token for found in whole]),
        "latencyMs": percentiles([found.ended - found.sent for found in whole]),
        "tokensPerSecond": round(level.tokens_per_second, 2),
        "requestsPerSecond": round(sum(found.ended <= level.until for found in whole) / seconds, 3),
        "promptTokens": _mean([found.prompt_tokens for found in whole]),
        "outputTokens": _mean([found.tokens for found in whole]),
        "acceptLength": None if accepted.value is None else round(accepted.value, 3),
        "replicasSeen": len(accepted.replicas),
        "metricsUnread": accepted.unread,
    }


def percentiles(seconds: Sequence[float | None]) -> dict[str, float] | None:
    """In milliseconds, of those that are there; the smallest value that so many per cent are not above."""
    found = sorted(value for value in seconds if value is not None)
    if not found:
        return None
    return {f"p{share}": round(1000 * found[max(0, -(-share * len(found) // 100) - 1)], 3) for share in PERCENTILES}


def _mean(counts: Sequence[int]) -> float | None:
    return round(statistics.fmean(counts), 1) if counts else None


def snapshot(levels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The few figures that stand for a sweep, in the published guide's terms.

    First token and time per token at the fewest streams, decode throughput at the level that has most of it; the
    accept length is the mean of the levels', the error rate that of all requests.
    """
    fewest = min(levels, key=lambda level: level["streams"])
    best = max(levels, key=lambda level: level["tokensPerSecond"])
    accepts = [level["acceptLength"] for level in levels if level["acceptLength"] is not None]
    return {
        "tpotMs": (fewest["tpotMs"] or {}).get("p50"),
        "tokensPerSecond": best["tokensPerSecond"],
        "atStreams": best["streams"],
        "ttftMs": (fewest["ttftMs"] or {}).get("p50"),
        "acceptLength": round(statistics.fmean(accepts), 3) if accepts else None,
        "errorRate": round(sum(level["failed"] for level in levels) / sum(level["requests"] for level in levels), 5),
    }
