"""One start of the server as it will serve, asked prompts of all sizes: it fills the caches that the compile tool
leaves empty, and shows what a start still compiles.

The tool runs without CUDA graphs and sends one four-token prompt. What graph capture, prompts beyond 1,024 and 2,048
tokens and larger batches need (tvm-ffi, FlashInfer, Triton kernels, some GEMM shapes) would then be compiled by every
container at its start and in its first requests: 25 to 40 s and stalls of 8 to 10 s, measured. Here once instead.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

from serving.engine_process import EngineProcess
from serving.engines import EngineModule
from serving.errors import ServingError
from serving.health import wait_until_healthy, why_it_died
from serving.log_pump import LineSink, LogPump
from serving.recipe import Recipe
from serving.redaction import Redactor
from serving.warmup import LONGEST_OF_BATCH, ask_all_sizes, warm_up

_BATCHES = (2, 3, 4, 8, 16, 32, 48)
"""Requests at once: kernels have variants by batch, of which the first request is none (docs/gpu.md)."""
_ANSWERED = re.compile(r'"POST /\S+ HTTP/1\.1" 200')
"""The access log of our own requests, of which there are dozens."""


def start_and_ask(
    recipe: Recipe,
    commit: str,
    key: str,
    module: EngineModule,
    *,
    proven: bool,
    seconds: float,
    environment: Mapping[str, str],
    redact: Redactor,
    out: LineSink,
) -> list[str]:
    """Starts the server (without a key: nobody reaches it), asks, stops it. `seconds` is what is left for that.

    `proven` starts it as a container with proven kernels would: without the pass over all sizes of every GEMM shape,
    from which the first start gets its completeness. Returns the engine's lines that tell of compiling something.
    Raises ServingError.
    """
    attention = threading.Event()
    compiled: list[str] = []

    def worth_reading(line: str) -> None:
        if not _ANSWERED.search(line):
            out(line)

    def watch(line: str) -> None:
        if module.READY_LINE.search(line):
            attention.set()
        if module.COMPILING_LINE.search(line):
            compiled.append(line.strip()[:160])

    argv = module.launch_command(recipe, commit)
    variables = module.engine_environment(recipe, recipe.kernel_path(key), proven=proven)
    out(redact(f"[compile] {' '.join(argv)}"))
    engine = EngineProcess(argv, {**environment, **variables}, LogPump(redact, worth_reading, watch), attention.set)
    try:
        wait_until_healthy(
            engine,
            name=module.TITLE,
            port=recipe.port,
            path=module.HEALTH_PATH,
            deadline=seconds,
            attention=attention,
            out=out,
        )
        try:
            warm_up(recipe, api_key="", out=out)
            ask_all_sizes(recipe, api_key="", batches=_BATCHES, longest_of_batch=LONGEST_OF_BATCH, out=out)
        except ServingError as error:
            if engine.exited.wait(5):
                raise why_it_died(engine, module.TITLE, "answering its first requests") from None
            raise ServingError(f"kernels: {error}") from None
        engine.terminate(recipe.deadlines.shutdown)
    finally:
        engine.kill()
    return compiled
