"""What the benchmark's own client costs: its throughput beside that of a bare asyncio client, in turns.

python -m benchmarks.endpoint.overhead [--streams 64] [--seconds 10] [--rounds 5] [--recipe tiny-glm-local]

Against a stand-in engine that it starts. Prints each round and the median of the rounds' ratios; status 1 where that is
below --minimum.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.endpoint.bare import tokens_per_second
from benchmarks.endpoint.exchange import Target
from benchmarks.endpoint.level import open_session, run_level
from benchmarks.endpoint.workload import Workload
from benchmarks.overhead.stack import alone, prepare


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endpoint.overhead", description=__doc__)
    parser.add_argument("--recipe", default="tiny-glm-local", help="with a stand-in engine")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer (default 128)")
    parser.add_argument("--minimum", type=float, default=0.95, help="the ratio that is good enough (default 0.95)")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        alone(prepare(options.recipe, Path(folder))) as server,
    ):
        target = Target(f"http://127.0.0.1:{server.port}", server.model, server.api_key)
        ratios = asyncio.run(_rounds(target, options))
    ratio = statistics.median(ratios)
    print(f"ratio: {ratio:.3f}, the median of {len(ratios)} rounds")
    if ratio < options.minimum:
        print(f"error: below {options.minimum}", file=sys.stderr)
    return 0 if ratio >= options.minimum else 1


async def _rounds(target: Target, options: argparse.Namespace) -> list[float]:
    """Ours ÷ bare, of rounds in which now one and now the other comes first."""
    prompts = Workload(100, options.tokens).prompts()
    ratios = []

    async def ours(seconds: float) -> float:
        # A session of its own each time: idle connections would take the engine's places.
        async with open_session() as session:
            level = await run_level(
                session, target, prompts, tokens=options.tokens, streams=options.streams, seconds=seconds, patience=120
            )
        failed = [found.error for found in level.exchanges if found.error]
        if failed:
            raise RuntimeError(f"{len(failed)} requests failed: {failed[0]}")
        # Tokens of all streams over the time until the last one ended, as of the bare client.
        last = max(found.ended for found in level.exchanges)
        return sum(found.tokens for found in level.exchanges) / (last - level.began)

    async def bare(seconds: float) -> float:
        return await tokens_per_second(target, prompts, tokens=options.tokens, streams=options.streams, seconds=seconds)

    await ours(1)
    for number in range(options.rounds):
        order = (ours, bare) if number % 2 else (bare, ours)
        found = {client: await client(options.seconds) for client in order}
        ratios.append(found[ours] / found[bare])
        print(
            f"round {number + 1}: bare {found[bare]:,.0f} tok/s, ours {found[ours]:,.0f} tok/s, {ratios[-1]:.3f}",
            flush=True,
        )
    return ratios


if __name__ == "__main__":
    sys.exit(main())
