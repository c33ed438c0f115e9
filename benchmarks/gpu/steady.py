"""Steady speed of two servers on one GPU, asked in turns, with the noise of the figures beside them; and of one after
another of both kinds, because two processes of the same kind differ, too."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.bench import say
from benchmarks.gpu.load import Target, streams

TURNS = {1: 6, 8: 6, 32: 8, 48: 12}
"""By the number of streams. Even numbers: half of a server's turns are compared with the other half."""
FEWER_TURNS = {1: 4, 8: 6, 32: 8, 48: 6}
"""Where several pairs of servers are measured."""
_REQUESTS = 3
"""Of each client in each turn."""
_HIGHER_IS_BETTER = "tokens_per_second"


def steady(targets: dict[str, Target], turns_by_streams: dict[int, int]) -> Iterator[dict[str, Any]]:
    """After each level what is known so far, by number of streams: for each server medians over turns and all turns;
    `ratio`, the first server's speed ÷ the second's turned so that more than 1 is a faster second; and `noise`, the
    same ratio between every other turn of one and the same server."""
    one, other = targets
    found: dict[str, Any] = {}
    seed = 100_000
    for count, turns in turns_by_streams.items():
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in targets}
        for turn in range(turns + 1):
            for name in (one, other) if turn % 2 else (other, one):  # who begins alternates
                seed += 1000
                figures = streams(targets[name], count, _REQUESTS, seed)
                if turn:  # the first one settles the clocks and the batch's graphs
                    measured[name].append(figures)
        found[str(count)] = {
            **{name: {**_medians(of_one), "turns": of_one} for name, of_one in measured.items()},
            "ratio": _ratio(measured[one], measured[other]),
            "noise": {name: _ratio(of_one[::2], of_one[1::2]) for name, of_one in measured.items()},
        }
        level = found[str(count)]
        say(f"{count} streams: {_medians(measured[one])} {_medians(measured[other])} {level['ratio']} {level['noise']}")
        yield found


def pooled(comparisons: list[dict[str, Any]], kinds: dict[str, str]) -> dict[str, Any]:
    """All turns of all servers of a kind together, by number of streams: medians, their `ratio` as in `steady`, and
    `servers`, the median of each server by itself. `kinds` is by the name of a server; the first kind is the base."""
    one, other = dict.fromkeys(kinds.values())
    found: dict[str, Any] = {}
    for count in comparisons[0]:
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
        for comparison in comparisons:
            for name in turns.keys() & comparison[count].keys():
                turns[name] += comparison[count][name]["turns"]
        of_kind = {
            kind: [turn for name in turns if kinds[name] == kind for turn in turns[name]] for kind in (one, other)
        }
        found[count] = {
            **{kind: {**_medians(measured), "turns": len(measured)} for kind, measured in of_kind.items()},
            "ratio": _ratio(of_kind[one], of_kind[other]),
            "servers": {name: _medians(measured) for name, measured in turns.items()},
        }
    return found


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(turn[key] for turn in turns), 3) for key in turns[0]}


def _ratio(one: list[dict[str, float]], other: list[dict[str, float]]) -> dict[str, float]:
    """Of medians over turns; more than 1 where `other` is faster."""
    first, second = _medians(one), _medians(other)
    return {
        key: round(second[key] / first[key] if key == _HIGHER_IS_BETTER else first[key] / second[key], 4)
        for key in first
    }
