"""What the serving container costs: an engine behind the supervisor and its gate, against the same engine alone.

python -m benchmarks.serving [--rounds N] [--tokens N] [--streams N …] [--minimum RATIO]

Both run at the same time and are asked in turn, a round on one, a round on the other, the order changing. Prints a
table of medians, the median of the rounds' ratios (above 1: the supervised one is better), the CPU time of both
process trees and the supervisor's memory; ends with status 1 where a ratio is below the minimum.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.overhead.stack import Prepared, Server, alone, cpu_seconds, prepare, supervised
from benchmarks.overhead.streams import Timing, burst


def measure(servers: tuple[Server, Server], rounds: int, tokens: int, streams: int) -> list[tuple[Timing, Timing]]:
    """For each round the medians of each server's timings, in the order given."""
    for server in servers:  # connections, caches, first imports
        burst(server, tokens, streams)
    found = []
    for number in range(rounds):
        # Neither is always the one that comes after the other.
        order = (0, 1) if number % 2 else (1, 0)
        timings = {which: burst(servers[which], tokens, streams) for which in order}
        found.append((median_of(timings[0]), median_of(timings[1])))
    return found


def median_of(timings: Iterable[Timing]) -> Timing:
    timings = list(timings)
    return Timing(
        statistics.median(timing.first for timing in timings), statistics.median(timing.rate for timing in timings)
    )


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process, now and at most."""
    kib = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            kib[name] = float(value.split()[0])
    return kib["VmRSS"] / 1024, kib["VmHWM"] / 1024


def compare(prepared: Prepared, options: argparse.Namespace) -> bool:
    """Prints the table; whether every ratio is good enough."""
    good = True
    with supervised(prepared) as ours, alone(prepared) as bare:
        before, _ = memory_mib(ours.pid)
        print(f"{'streams':>7}  {'':24}{'alone':>12}{'supervised':>12}{'ratio':>9}")
        for streams in options.streams:
            # As many timings whatever the number of streams.
            rounds = max(2, options.rounds // streams)
            used = [cpu_seconds(server) for server in (bare, ours)]
            pairs = measure((bare, ours), rounds, options.tokens, streams)
            used = [cpu_seconds(server) - before for server, before in zip((bare, ours), used, strict=True)]
            each = [seconds / ((rounds + 1) * streams) * 1000 for seconds in used]
            alone_is, ours_is = median_of(pair[0] for pair in pairs), median_of(pair[1] for pair in pairs)
            # Of the rounds' own ratios: what else the machine does changes slowly, and then hits both alike.
            first = statistics.median(theirs.first / mine.first for theirs, mine in pairs)
            rate = statistics.median(mine.rate / theirs.rate for theirs, mine in pairs)
            good = good and min(first, rate) >= options.minimum
            for label, alone_has, ours_has, ratio in (
                ("time to first token, ms", alone_is.first * 1000, ours_is.first * 1000, first),
                ("tokens/s of a stream", alone_is.rate, ours_is.rate, rate),
            ):
                print(f"{streams:>7}  {label:24}{alone_has:>12.2f}{ours_has:>12.2f}{ratio:>9.3f}")
            print(f"{streams:>7}  {'CPU of an answer, ms':24}{each[0]:>12.2f}{each[1]:>12.2f}")
        now, most = memory_mib(ours.pid)
    print(f"supervisor: {before:.1f} MiB resident when ready, {now:.1f} MiB afterwards, {most:.1f} MiB at most")
    return good


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--recipe", default="tiny-glm-local", help="name of a file in recipes/ with a stand-in engine")
    parser.add_argument("--rounds", type=int, default=200, help="streams on each side (default 200)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each (default 128)")
    parser.add_argument(
        "--streams",
        type=int,
        nargs="+",
        default=[1],
        help="streams at once, one number for each part of the table (default 1)",
    )
    parser.add_argument("--minimum", type=float, default=0.99, help="the ratio that is good enough (default 0.99)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        good = compare(prepare(options.recipe, Path(folder)), options)
    print(
        "good enough" if good else f"error: a ratio is below {options.minimum}", file=sys.stdout if good else sys.stderr
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
