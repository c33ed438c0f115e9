"""What the local cloud adds to what it runs: each figure beside the plain thing, measured in turns in one run.

    python -m benchmarks.emulator [--rounds N] [--calls N] [--only PART …] [--json FILE]

    call     a warm `.remote()`           ÷ an empty RPC of the same client; and ÷ an HTTP round trip to a plain server
    cold     a call that needs a container ÷ `python -c "import modal"`
    deploy   `modal deploy`               ÷ `modal --help`
    ingress  a request, a stream of small pieces and a large body through `@app.server`'s and `@modal.web_server`'s
             address                      ÷ the same web server, asked directly
    idle     memory and CPU time of the daemon with nothing to do

In a local cloud of its own. A ratio is the median of its rounds' ratios. Status 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from local.installation import Installation, free_ports
from local.status_command import overview
from tests.local_cloud import BIN, REPOSITORY, LocalCloud

MODULE = "benchmarks.emulator_app"
_IDLE_SECONDS = 20.0
_BIG = 64_000_000
_PIECES = 30_000
"""Some tenths of a second: of a shorter stream a good part is the request, and what else the machine does."""


@dataclass
class Figure:
    """One row: what was measured against what, a pair of values for each round."""

    part: str
    what: str
    unit: str
    limit: str = ""
    here: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    missed: bool = False

    def add(self, here: float, plain: float) -> None:
        self.here.append(here)
        self.plain.append(plain)

    @property
    def ratio(self) -> float:
        return statistics.median(here / plain for here, plain in zip(self.here, self.plain, strict=True))

    @property
    def added(self) -> float:
        return statistics.median(here - plain for here, plain in zip(self.here, self.plain, strict=True))

    def row(self) -> str:
        here = f"{statistics.median(self.here):.2f} {self.unit}"
        plain = f"{statistics.median(self.plain):.2f} {self.unit}" if self.plain else ""
        ratio = f"{self.ratio:.2f}" if self.plain else ""
        verdict = f"{self.limit}{', missed' if self.missed else ''}" if self.limit else "–"
        return f"| `{self.part}` | {self.what} | {here} | {plain} | {ratio} | {verdict} |"


class Bench:
    def __init__(self, cloud: LocalCloud, rounds: int, calls: int) -> None:
        self.cloud, self.rounds, self.calls = cloud, rounds, calls
        self.installation = Installation.open(cloud.dir)
        self.figures: list[Figure] = []

    def figure(self, part: str, what: str, unit: str, limit: str = "") -> Figure:
        self.figures.append(Figure(part, what, unit, limit))
        return self.figures[-1]

    # -- calls

    def call(self) -> None:
        self.cloud.modal("deploy", "-m", MODULE)
        rpc = self.figure("call", "a warm `.remote()` against an empty RPC (median)", "ms")
        http = self.figure("call", "a warm `.remote()` against an HTTP round trip (median)", "ms")
        with plain_server() as url:
            asyncio.run(self._call(rpc, http, url))

    async def _call(self, rpc: Figure, http: Figure, url: str) -> None:
        import aiohttp
        import modal

        function = modal.Function.from_name("emulator-benchmark", "warm")
        await function.remote.aio(0)
        client = await modal.Client.from_env.aio()
        count = max(self.calls // self.rounds, 1)
        async with aiohttp.ClientSession() as session:

            async def get() -> None:
                async with session.get(f"{url}/big?bytes=10") as response:
                    await response.read()

            for _ in range(self.rounds):
                remote = await _median(lambda: function.remote.aio(1), count)
                rpc.add(remote, await _median(client.hello.aio, count))
                http.add(remote, await _median(get, count))

    def cold(self) -> None:
        self.cloud.modal("deploy", "-m", MODULE)
        figure = self.figure("cold", 'a call that starts a container against `python -c "import modal"`', "s", "≤ 1.5")
        code = "import modal, time\ncold = modal.Function.from_name('emulator-benchmark', 'cold').hydrate()\n"
        code += "began = time.monotonic(); cold.remote(1); print(time.monotonic() - began)"
        for _ in range(self.rounds):
            while any(each["name"].endswith("/cold") for each in overview(self.installation)["containers"]):
                time.sleep(0.1)
            here = float(self.cloud.python(code).stdout)
            figure.add(here, _seconds(lambda: self.cloud.python("import modal")))
        figure.missed = figure.ratio > 1.5

    def deploy(self) -> None:
        figure = self.figure("deploy", "`modal deploy` of two functions against `modal --help`", "s")
        for _ in range(self.rounds):
            here = _seconds(lambda: self.cloud.modal("deploy", "-m", MODULE))
            figure.add(here, _seconds(lambda: self.cloud.modal("--help")))

    # -- HTTP

    def ingress(self) -> None:
        declared = {"name": "emulator-web", "min": 1, "max": 1, "at_once": 100}
        self.cloud.modal("deploy", "-m", "tests.modal_cloud.apps.web_app", env={"WEB_APP": json.dumps(declared)})
        (app,) = [app for app in overview(self.installation)["apps"] if app["name"] == "emulator-web"]
        kinds = self.cloud.python(
            "import modal\n"
            "print(modal.Server.from_name('emulator-web', 'Serve').get_url(),"
            " modal.Cls.from_name('emulator-web', 'Web')().serve.get_web_url())"
        ).stdout.split()
        assert set(kinds) <= set(app["urls"]), (kinds, app["urls"])
        with plain_server() as plain:
            for name, url in zip(("@app.server", "@modal.web_server"), kinds, strict=True):
                asyncio.run(self._ingress(name, url, plain))

    async def _ingress(self, name: str, url: str, plain: str) -> None:
        import aiohttp

        limits = ("≤ 2 ms added", "≥ 0.9") if name == "@app.server" else ("", "")
        latency = self.figure("ingress", f"`{name}`: a request (median)", "ms", limits[0])
        pieces = self.figure("ingress", f"`{name}`: pieces of a stream", "1/s", limits[1])
        body = self.figure("ingress", f"`{name}`: a body of {_BIG // 10**6} MB", "MB/s")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:

            async def read(address: str) -> float:
                began = time.monotonic()
                async with session.get(address) as response:
                    response.raise_for_status()
                    async for _ in response.content.iter_any():
                        pass
                return time.monotonic() - began

            while True:  # the first container may still be starting
                try:
                    await read(f"{url}/big?bytes=10")
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
            for _ in range(self.rounds):
                count = max(self.calls // self.rounds // 2, 1)
                small = [await _median(lambda each=each: read(f"{each}/big?bytes=10"), count) for each in (url, plain)]
                latency.add(*small)
                path = f"/stream?count={_PIECES}&pause=0"
                pieces.add(*[_PIECES / await read(each + path) for each in (url, plain)])
                body.add(*[_BIG / 1e6 / await read(f"{each}/big?bytes={_BIG}") for each in (url, plain)])
        if limits[0]:
            latency.missed = latency.added > 2
            pieces.missed = pieces.ratio < 0.9

    # -- nothing

    def idle(self) -> None:
        for app in overview(self.installation)["apps"]:
            self.cloud.modal("app", "stop", app["id"], "--yes")
        while overview(self.installation)["containers"]:
            time.sleep(0.2)
        began, before = time.monotonic(), overview(self.installation)["process"]
        time.sleep(_IDLE_SECONDS)
        after = overview(self.installation)["process"]
        cpu = (after["cpu_seconds"] - before["cpu_seconds"]) / (time.monotonic() - began)
        memory = self.figure("idle", "memory of the daemon", "MB", "≤ 150")
        memory.here.append(after["memory_bytes"] / 1e6)
        memory.missed = memory.here[0] > 150
        self.figure("idle", "CPU of the daemon, per cent of a core", "%").here.append(cpu * 100)


@contextmanager
def plain_server() -> Iterator[str]:
    """The web server that runs in the containers, as a plain process: its URL."""
    (port,) = free_ports(1)
    environment = {**os.environ, "MODAL_TASK_ID": "none", "WEB_APP": '{"version": "0"}'}
    command = [sys.executable, "-m", "tests.modal_cloud.apps.backend", str(port)]
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY)
    try:
        _until_it_listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _until_it_listens(port: int) -> None:
    import socket

    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the plain server does not listen on port {port}")
        time.sleep(0.02)


async def _median(call: Callable[[], Awaitable[object]], count: int) -> float:
    """Milliseconds of one of so many calls, one after the other."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)


def _seconds(run: Callable[[], object]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


def main() -> int:
    parts = ("call", "cold", "deploy", "ingress", "idle")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10_000, help="warm calls in all")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="PART")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every round's figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder) / "cloud")
        cloud.start()
        try:
            os.environ.update({name: cloud.env[name] for name in cloud.env if name.startswith(("MODAL_", "NO_PROXY"))})
            os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
            bench = Bench(cloud, options.rounds, options.calls)
            for part in options.only:
                getattr(bench, part)()
        finally:
            cloud.stop()
    print("| part | what | measured | plain | ratio | limit |\n| --- | --- | --- | --- | --- | --- |")
    for figure in bench.figures:
        print(figure.row())
    if options.json:
        told: list[dict[str, Any]] = [asdict(figure) for figure in bench.figures]
        options.json.write_text(json.dumps(told, indent=2), encoding="utf-8")
    return 1 if any(figure.missed for figure in bench.figures) else 0


if __name__ == "__main__":
    sys.exit(main())
