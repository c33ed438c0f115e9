"""`python3 -m benchmarks.gpu.container STATE`: what a serving container's process does, without Modal around it.

As in serving/apps/server.py: the supervisor starts in `enter`, the process then lives until SIGTERM, and `exit` stops
the engine. The monitor ends the process with status 1 when the engine dies. The API key comes in the environment under
the recipe's name for it, as from Modal's secret.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path

from serving.errors import ServingError
from serving.recipe import Recipe
from serving.supervisor import Supervisor


def main(state_file: str) -> int:
    began = time.monotonic()
    state = json.loads(Path(state_file).read_text(encoding="utf-8"))
    recipe = Recipe.model_validate(state["recipe"])
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    supervisor = Supervisor(recipe, state["commit"], state["kernel_key"], release=state["release"])
    try:
        supervisor.start()
    except ServingError:
        return 1  # said in the log already
    phases = {name: round(seconds, 2) for name, seconds in supervisor.phases.items()}
    ready = {"seconds": round(time.monotonic() - began, 2), "phases": phases}
    partial = Path(state["ready_file"] + ".partial")
    partial.write_text(json.dumps(ready), encoding="utf-8")
    partial.rename(state["ready_file"])
    asked_to_stop.wait()
    supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
