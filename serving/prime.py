"""Fills the caches that SGLang's compile tool leaves empty: one start with the serving flags, and prompts of all sizes.

The tool runs without CUDA graphs and sends one four-token prompt. What graph capture, prompts beyond 1,024 and 2,048
tokens and larger batches need (tvm-ffi, FlashInfer, Triton kernels, some GEMM shapes) would then be compiled by every
container at its start and in its first requests: 25 to 40 s and stalls of 8 to 10 s, measured. Here once instead.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from serving.engine_process import EngineProcess
from serving.engines import EngineModule
from serving.errors import ServingError
from serving.health import wait_until_healthy, why_it_died
from serving.log_pump import LineSink, LogPump
from serving.loopback import request
from serving.progress import Report
from serving.recipe import Recipe
from serving.redaction import Redactor
from serving.warmup import CHAT_PATH, problem_of, prompt_of, warm_up

# Tokens; on both sides of where SGLang and its kernels change their ways (1,024 and the index top-k of 2,048).
_PROMPT_SIZES = (60, 200, 900, 1100, 2000, 2400, 4000)
_BATCH = 48
_ANSWERED = re.compile(r'"POST /\S+ HTTP/1\.1" 200')
"""The access log of our own requests, of which there are dozens."""


def prime_caches(
    recipe: Recipe,
    commit: str,
    key: str,
    module: EngineModule,
    *,
    seconds: float,
    environment: Mapping[str, str],
    redact: Redactor,
    report: Report,
    out: LineSink,
) -> None:
    """Starts the server as it will serve (without a key: nobody reaches it), asks, stops it. Raises ServingError.

    `seconds` is what is left for all of it.
    """
    attention = threading.Event()

    def worth_reading(line: str) -> None:
        if not _ANSWERED.search(line):
            out(line)

    def watch(line: str) -> None:
        if module.READY_LINE.search(line):
            attention.set()

    argv = module.launch_command(recipe, commit)
    # With the pass over all sizes of every shape, unlike in serving: this is where completeness comes from.
    variables = module.engine_environment(recipe, recipe.kernel_path(key), compiling=True)
    report("kernels: first start with the serving flags, for the caches that the compile tool does not fill")
    out(f"[compile] {' '.join(argv)}")
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
            _ask_all_sizes(recipe)
        except ServingError:
            if engine.exited.wait(5):
                raise why_it_died(engine, module.TITLE, "answering its first requests") from None
            raise
        engine.terminate(recipe.deadlines.shutdown)
    finally:
        engine.kill()


def _ask_all_sizes(recipe: Recipe) -> None:
    longest = recipe.engine_module.longest_request(recipe) - 200
    sizes = [size for size in _PROMPT_SIZES if size < longest]
    for size in sizes:
        _ask(recipe, size)
    batch = min(_BATCH, recipe.engine_module.most_requests(recipe))
    # One batch of short prompts of unlike lengths: what a busy replica decodes together.
    with ThreadPoolExecutor(batch) as pool:
        list(pool.map(lambda number: _ask(recipe, 20 + 5 * number), range(batch)))


def _ask(recipe: Recipe, tokens: int) -> None:
    payload = {
        "model": recipe.model.served_name,
        "messages": [{"role": "user", "content": prompt_of(tokens)}],
        "max_tokens": 16,
    }
    limit = recipe.deadlines.warmup_request
    try:
        answer = request(recipe.port, "POST", CHAT_PATH, payload=payload, timeout=limit)
        problem = problem_of(answer)
    except (OSError, http.client.HTTPException) as error:
        problem = f"{error.__class__.__name__}: {error}"
    if problem:
        raise ServingError(
            f"kernels: the first start did not answer a prompt of {tokens} tokens: {problem}. Next: pulumi up"
        )
