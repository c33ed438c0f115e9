"""Waits for an engine's first healthy answer, and notices at once when the engine dies instead."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable

from serving.engine_process import EngineProcess
from serving.errors import ServingError
from serving.exit_status import explain
from serving.log_pump import LineSink, print_line
from serving.log_triage import cause_of_failure, classify, last_words
from serving.loopback import request

_PROBE_TIMEOUT = 20.0


def probe(port: int, path: str, timeout: float = _PROBE_TIMEOUT) -> int | None:
    """HTTP status of the health endpoint; None where nothing answers."""
    try:
        return request(port, "GET", path, timeout=timeout).status
    except (OSError, http.client.HTTPException):
        return None


def why_it_died(engine: EngineProcess, name: str, while_doing: str) -> ServingError:
    """One line with the exit code, the engine's own last words, and what to do about them."""
    code = engine.returncode if engine.returncode is not None else 0
    lines = engine.last_lines
    cause = cause_of_failure(lines)
    finding = classify(cause) if cause else None
    advice = finding.action if finding and finding.severity == "fatal" else "mend the cause (more in `modal app logs`)"
    died = f"{name} died while {while_doing} (code {code}: {explain(code, lines)})"
    return ServingError(f"{died}{last_words(lines)}. Next: {advice}, then pulumi up")


def wait_until_healthy(
    engine: EngineProcess,
    *,
    name: str,
    port: int,
    path: str,
    deadline: float,
    attention: threading.Event,
    refuse: Callable[[], None] = lambda: None,
    out: LineSink = print_line,
) -> int:
    """Polls until 200; returns the number of attempts. Raises ServingError at the engine's death or the deadline.

    `attention` is set by whoever has a reason to look now: the engine's exit, its own "ready" line, a reason why this
    start must end (`refuse` raises it then). Between such events a look every 10 s (less where the deadline is short)
    is enough. `deadline` is in seconds; with none left there is one look.
    """
    deadline = max(0.0, deadline)
    interval = min(10.0, max(0.2, deadline / 60))
    started = time.monotonic()
    attempt = 0
    while True:
        refuse()
        if engine.exited.is_set():
            raise why_it_died(engine, name, "starting")
        attempt += 1
        status = probe(port, path, timeout=min(_PROBE_TIMEOUT, deadline))
        if engine.exited.is_set():
            raise why_it_died(engine, name, "starting")
        if status == 200:
            out(f"[health] passed on attempt {attempt}")
            return attempt
        waited = time.monotonic() - started
        if waited >= deadline:
            answer = f"{path} answers {status}" if status else f"nothing listens on port {port}"
            raise ServingError(
                f"{name} was not healthy within {deadline:.0f} s: {answer}. "
                "Next: check volume throughput in `modal app logs`, or raise deadlines.health and deadlines.startup "
                "in the recipe, then pulumi up"
            )
        attention.wait(min(interval, deadline - waited))
        # A "ready" line comes a moment before the endpoint agrees: look often for a while after one.
        if attention.is_set():
            attention.clear()
            interval = min(interval, 0.25)
