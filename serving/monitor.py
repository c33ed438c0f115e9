"""Watches an engine that serves: dead or hung, the container ends at once, so that Modal replaces it."""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections.abc import Callable, Mapping

from serving.engine_process import EngineProcess
from serving.engines import EngineModule
from serving.engines.unanswered import UNANSWERED_METRIC
from serving.exit_status import explain
from serving.log_pump import LineSink, print_line
from serving.loopback import request
from serving.recipe import Recipe


def read_metrics(text: str) -> dict[str, float]:
    """Prometheus text exposition → value by metric name, summed over labels; NaN and comments left out."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        # A label's value may hold spaces and braces; the sample's value is behind the last "}".
        name, brace, rest = line.partition("{")
        value = rest.rpartition("}")[2] if brace else line.partition(" ")[2]
        name = name if brace else line.partition(" ")[0]
        try:
            number = float(value.split()[0])
        except (ValueError, IndexError):
            continue
        if not math.isnan(number):
            totals[name] = totals.get(name, 0.0) + number
    return totals


class HangDetector:
    """Says for how long an engine with work in hand has made no progress, in seconds of the caller's clock."""

    def __init__(self, engine: EngineModule) -> None:
        self._engine = engine
        self._progress: tuple[float, ...] | None = None
        self._since: float | None = None

    def stuck_for(self, now: float, metrics: Mapping[str, float] | None) -> float:
        """`metrics` is None where the endpoint did not answer: an engine that can't even say so is not idle."""
        if metrics is not None:
            progress = self._engine.progress(metrics)
            moved = progress != self._progress
            self._progress = progress
            if moved or not (self._engine.busy(metrics) or metrics.get(UNANSWERED_METRIC)):
                self._since = None
                return 0.0
        if self._since is None:
            self._since = now
        return now - self._since


class Monitor:
    """Runs until `stop`. Calls `die(reason line)` at most once, from its own thread."""

    def __init__(
        self,
        engine: EngineProcess,
        module: EngineModule,
        recipe: Recipe,
        die: Callable[[], None],
        out: LineSink = print_line,
        *,
        api_key: str = "",
        after_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._module = module
        self._recipe = recipe
        self._die = die
        self._out = out
        self._api_key = api_key
        self._after_look = after_look
        self._stopping = threading.Event()
        self._watches_hangs = module.has_metrics(recipe)
        self._thread = threading.Thread(target=self._run, name="engine-monitor", daemon=True)

    def start(self) -> None:
        if not self._watches_hangs:
            self._out("[monitor] without its metrics only a death of the engine is noticed, not a hang")
        self._thread.start()

    def stop(self) -> None:
        """After this an ending engine is what was asked for."""
        self._stopping.set()

    def _run(self) -> None:
        limits = self._recipe.deadlines
        detector = HangDetector(self._module)
        while not self._stopping.is_set():
            # Returns at the moment of death, not at the next interval.
            died = self._engine.exited.wait(limits.monitor_interval)
            if self._stopping.is_set():
                return
            if died:
                code = self._engine.returncode
                self._out(f"[monitor] FATAL: {self._module.TITLE} died (code {code})")
                self._out(f"[monitor] {explain(code or 0, self._engine.last_lines)}; this container ends now")
                self._die()
                return
            if self._watches_hangs:
                stuck = detector.stuck_for(time.monotonic(), self._scrape())
                if stuck >= limits.hang:
                    self._out(
                        f"[monitor] FATAL: {self._module.TITLE} hangs "
                        f"(requests in hand, no progress for {stuck:.0f} s); this container ends now"
                    )
                    self._die()
                    return
            self._after_look()

    def _scrape(self) -> dict[str, float] | None:
        timeout = max(1.0, min(10.0, self._recipe.deadlines.hang / 4))
        return scrape(self._recipe.port, self._module.METRICS_PATH, self._api_key, timeout)


def scrape(port: int, path: str, api_key: str = "", timeout: float = 10.0) -> dict[str, float] | None:
    """The engine's metrics, summed over labels; None where it does not give them."""
    try:
        answer = request(port, "GET", path, api_key=api_key, timeout=timeout)
    except (OSError, http.client.HTTPException):
        return None
    return read_metrics(answer.body.decode(errors="replace")) if answer.status == 200 else None
