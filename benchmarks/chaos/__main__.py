"""Calls of all sorts while RPCs fail and containers are killed: each ends right, or with an error that is documented.

    python -m benchmarks.chaos [--calls 1000] [--parallel 16] [--share 0.05] [--kills 0.02] [--seed 1]

In a local cloud of its own. `--share` of all RPCs, of clients and containers alike, fail (UNAVAILABLE, INTERNAL,
RESOURCE_EXHAUSTED), or their connection is cut before or after they took effect; `--kills` of the containers that take
an input, and as many of those about to hand in an output, are killed. Status 1 where a call hung, answered wrongly or
raised what no caller has to expect, where the cloud did not heal once the faults were taken back, or where something
was left after its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.faults import Faults
from local.installation import Installation
from local.status_command import overview
from tests.leftovers import left_over
from tests.local_cloud import LocalCloud

if TYPE_CHECKING:
    from benchmarks.chaos.calls import Outcome

_QUIET_SECONDS = 60.0


def order(faults: Faults, share: float, kills: float, seed: int) -> None:
    """Shares of all RPCs, and of the containers' inputs and outputs."""
    kinds: list[tuple[float, dict[str, Any]]] = [
        (0.60, {"status": "UNAVAILABLE"}),
        (0.31, {"status": "INTERNAL"}),
        (0.05, {"status": "RESOURCE_EXHAUSTED"}),
        # With a connection everything fails that travels on it: some ten more RPCs.
        (0.02, {"drop": "request"}),
        (0.02, {"drop": "answer"}),
    ]
    for number, (part, what) in enumerate(kinds):
        faults.rpc("*", times=None, share=share * part, seed=seed * 100 + number, **what)
    if kills:
        for at in ("input", "output"):
            faults.kill("chaos/*", at=at, times=None, share=kills, seed=seed)


async def make_calls(web_url: str, numbers: range, parallel: int, limit: float) -> list[Outcome]:
    import aiohttp

    from benchmarks.chaos.calls import Calls

    gate = asyncio.Semaphore(parallel)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=limit)) as http:
        calls = Calls(web_url, http, limit)

        async def one(number: int) -> Outcome:
            async with gate:
                return await calls.one(number)

        return list(await asyncio.gather(*map(one, numbers)))


def until_quiet(installation: Installation) -> list[str]:
    """Waits for the containers to go. What does not come to an end, in words."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while (now := overview(installation))["containers"] or now["calls_open"]:
        if time.monotonic() > deadline:
            calls = [f"call {call['id']} of {call['name']} is still open" for call in now["calls"]]
            return calls + [f"container {each['id']} is {each['phase']}" for each in now["containers"]]
        time.sleep(0.2)
    return []


def run(options: argparse.Namespace, cloud: LocalCloud) -> dict[str, Any]:
    """What happened; `problems` is empty where all is as it should be."""
    cloud.modal("dict", "create", "chaos-notes")
    cloud.modal("deploy", "-m", "benchmarks.chaos.app")
    os.environ.update({name: cloud.env[name] for name in cloud.env if name.startswith(("MODAL_", "NO_PROXY"))})
    installation, faults = Installation.open(cloud.dir), Faults.of(cloud.dir)
    (web_url,) = overview(installation)["apps"][0]["urls"]
    order(faults, options.share, options.kills, options.seed)
    began = time.monotonic()
    outcomes = asyncio.run(make_calls(web_url, range(options.calls), options.parallel, options.limit))
    took = time.monotonic() - began
    ordered = faults.listed()
    faults.clear()
    healed = asyncio.run(make_calls(web_url, range(options.calls, options.calls + 10), 4, options.limit))
    problems = [f"{each.kind} {each.number}: {each.error}" for each in outcomes if not each.documented]
    problems += [f"without faults, {each.kind} {each.number}: {each.error}" for each in healed if each.error]
    problems += until_quiet(installation)
    now = overview(installation)
    return {
        "calls": len(outcomes),
        "right": sum(not each.error for each in outcomes),
        "seconds": round(took, 1),
        "rpcs": now["rpcs"],
        "rpc_faults": sum(fault["hits"] for fault in ordered if fault["kind"] == "rpc"),
        "killed": sum(fault["hits"] for fault in ordered if fault["kind"] == "kill"),
        "memory_bytes": now["process"]["memory_bytes"],
        "kinds": _by_kind(outcomes),
        "errors": dict(Counter(each.error for each in outcomes if each.error and each.documented).most_common()),
        "problems": problems,
    }


def _by_kind(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    kinds = defaultdict(list)
    for each in outcomes:
        kinds[each.kind].append(each)
    return {
        kind: {
            "calls": len(those),
            "right": sum(not each.error for each in those),
            "median_seconds": round(statistics.median(each.seconds for each in those), 3),
            "longest_seconds": round(max(each.seconds for each in those), 1),
        }
        for kind, those in kinds.items()
    }


def show(told: dict[str, Any]) -> None:
    rpcs = sum(told["rpcs"].values())
    print(
        f"{told['calls']} calls in {told['seconds']} s: {told['right']} right,"
        f" {sum(told['errors'].values())} with a documented error, {len(told['problems'])} problems"
    )
    print(f"{rpcs} RPCs, of which {told['rpc_faults']} were made to fail; {told['killed']} containers killed")
    print(f"{'kind':<12}{'calls':>7}{'right':>7}{'median s':>10}{'longest s':>11}")
    for kind, row in told["kinds"].items():
        print(
            f"{kind:<12}{row['calls']:>7}{row['right']:>7}{row['median_seconds']:>10.3f}{row['longest_seconds']:>11.1f}"
        )
    for error, times in told["errors"].items():
        print(f"  {times} × {error}")
    for problem in told["problems"]:
        print(f"PROBLEM {problem}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.05, help="of all RPCs fail")
    parser.add_argument("--kills", type=float, default=0.02, help="of inputs taken, and of outputs, kill the container")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds after which a call counts as hanging")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder) / "cloud")
        cloud.start()
        try:
            told = run(options, cloud)
        finally:
            cloud.stop()
        told["problems"] += [f"left over: {each}" for each in left_over(cloud.dir)]
    print(json.dumps(told)) if options.json else show(told)
    return 1 if told["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
