"""python -m local.hub --dir D --port P: runs the Hub until it is asked to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from local import garbage

with garbage.left_alone():
    from local.hub.server import start


async def _serve(folder: Path, port: int) -> None:
    hub = await start(folder, port)
    print(f"hub on {hub.url}, token in {folder / 'token'}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await hub.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.hub", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where repositories and the token are kept")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options.dir, options.port))
    except OSError as error:
        print(
            f"hub: cannot serve on port {options.port}: {error.strerror or error}; try another --port", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
