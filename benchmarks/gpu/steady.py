"""Steady speed of two servers on one GPU, asked in turns, with the noise of the figures beside them; and of several
such pairs, because two processes of the same kind differ, too."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.bench import say
from benchmarks.gpu.load import Target, streams

TURNS = {1: 16, 8: 24, 32: 28, 48: 16}
"""Of each server, by the number of streams. Even numbers: half of a server's turns are compared with the other half."""
_REQUESTS = 1
"""Of each client in each turn, which so takes half a second to a second: a machine's speed may come and go by a third
for seconds at a time, and the ratio of two neighbouring turns must not see that."""
_HIGHER_IS_BETTER = "tokens_per_second"


def steady(
    base: tuple[str, Target], other: tuple[str, Target], turns_by_streams: dict[int, int] = TURNS
) -> Iterator[dict[str, Any]]:
    """After each level what is known so far, by number of streams: for both servers, by name, medians over turns and
    all turns; `ratio`, the median of neighbouring turns' ratios, more than 1 where `other` is faster; and `noise`, the
    same between neighbouring turns of one and the same server."""
    found: dict[str, Any] = {}
    for count, turns in turns_by_streams.items():
        measured = _in_turns([base, other], count, turns)
        level = found[str(count)] = {
            **{name: {**_medians(of_one), "turns": of_one} for name, of_one in measured.items()},
            "ratio": _ratio(*measured.values()),
            "noise": {name: _ratio(of_one[::2], of_one[1::2]) for name, of_one in measured.items()},
        }
        medians = " ".join(f"{name} {_medians(of_one)}" for name, of_one in measured.items())
        say(f"{count} streams: {medians}; ratio {level['ratio']}, noise {level['noise']}")
        yield found


def alone(target: Target, turns_by_streams: dict[int, int], requests: int) -> Iterator[dict[str, Any]]:
    """After each level what is known so far of one server with nothing beside it, by number of streams: medians over
    turns, in which each client sends `requests` requests back to back, and all turns."""
    found: dict[str, Any] = {}
    for count, turns in turns_by_streams.items():
        measured = _in_turns([("it", target)], count, turns, requests)["it"]
        found[str(count)] = {**_medians(measured), "turns": measured}
        say(f"{count} streams: {_medians(measured)}")
        yield found


def pooled(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """By number of streams the `ratio` of each of these results of `steady`, and their median."""
    found: dict[str, Any] = {}
    for count in pairs[0]:
        ratios = [pair[count]["ratio"] for pair in pairs]
        found[count] = {"pairs": ratios, "median": _medians(ratios)}
    return found


def _in_turns(
    servers: list[tuple[str, Target]], count: int, turns: int, requests: int = _REQUESTS
) -> dict[str, list[dict[str, float]]]:
    """What each server's turns at so many streams took, by its name. Who begins alternates."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name, _ in servers}
    for turn in range(turns + 1):
        for number, (name, target) in enumerate(servers if turn % 2 else reversed(servers)):
            # A prompt is never asked twice of a server: its prefix cache would answer.
            figures = streams(target, count, requests, seed=(count * 1000 + turn * len(servers) + number) * 1000)
            if turn:  # the first one settles the clocks and the batch's graphs
                measured[name].append(figures)
    return measured


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(turn[key] for turn in turns), 4) for key in turns[0]}


def _ratio(base: list[dict[str, float]], other: list[dict[str, float]]) -> dict[str, float]:
    """Median over neighbouring turns; more than 1 where `other` is faster."""
    return _medians(
        [
            {key: second[key] / first[key] if key == _HIGHER_IS_BETTER else first[key] / second[key] for key in first}
            for first, second in zip(base, other, strict=True)
        ]
    )
