"""The server process: starts the scheduler, serves HTTP, and ends the ways SGLang ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, NoReturn

from standin import checkpoint, http
from standin.channel import first_word
from standin.engine_client import EngineClient
from standin.environment import look_again, scaled
from standin.log import log, out, raw
from standin.middleware import BearerKey

from sglang import scheduler_process
from sglang.arguments import ServerArgs
from sglang.endpoints import Endpoints
from sglang.http_metrics import CountedRequests
from sglang.metrics import Metrics
from sglang.process_tree import kill_children, kill_process_tree
from sglang.srt.entrypoints.http_server import app

_SETTLE = 5.0
_DRAIN_LOOK = 5.0
_LAST_WORDS = 2.0
_WATCH = 1.0


def run(args: ServerArgs, compiling: bool = False) -> NoReturn:
    """Serves until the process ends, which it always does by itself: see process_tree."""
    log("Fail to set RLIMIT_NOFILE: current limit exceeds maximum limit")
    log(f"server_args={args!r}")
    config = checkpoint.read_config(Path(args.model_path))
    signal.signal(signal.SIGQUIT, _launch_phase_sigquit)
    pid, connection = scheduler_process.start(args, config, compiling)
    log("Using default HuggingFace chat template with detected content format: string")
    facts = _wait_ready(pid, connection)
    try:
        asyncio.run(_serve(args, config, facts, pid, connection, compiling))
    finally:
        kill_children()
    raise SystemExit(1)


def _launch_phase_sigquit(signum: int, frame: object) -> None:
    log("Received sigquit from a child process. It usually means the child failed.")
    kill_process_tree()


def _wait_ready(pid: int, connection: socket.socket) -> dict[str, float]:
    """What the scheduler says once it has loaded. Ends the process if it died instead."""
    facts = first_word(connection)
    if facts is None:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        raw(
            "Traceback (most recent call last):\n"
            f"RuntimeError: Rank 0 scheduler died during initialization (exit code: {code}). If exit code is -9 "
            "(SIGKILL), a common cause is the OS OOM killer. Run `dmesg -T | grep -i oom` to check.\n"
        )
        kill_children()
        raise SystemExit(1)
    return facts


async def _serve(
    args: ServerArgs,
    config: dict[str, Any],
    facts: dict[str, float],
    pid: int,
    connection: socket.socket,
    compiling: bool,
) -> None:
    metrics = Metrics(args, facts)
    client = EngineClient(connection, metrics.scheduler)
    await client.connect()
    endpoints = Endpoints(args, config, facts, client, metrics)
    _handle_signals(endpoints)
    _assemble(args, endpoints, metrics)
    log(f"INFO:     Started server process [{os.getpid()}]")
    log("INFO:     Waiting for application startup.")
    listener = http.Listener(lambda access: log(f"INFO:     {access.line}"), _server_error)
    lifespan = await http.startup(app, listener)
    if compiling:
        log("Running warmup compile-deep-gemm")
        out("\nGenerate warm up request for compiling DeepGEMM...\n")
        async for _ in client.generate("compile", 4, 8, external=False):
            pass
        log("Warmup ended")
    log("INFO:     Application startup complete.")
    try:
        server = await http.serve(app, (args.host or "127.0.0.1", args.port), listener)
    except OSError as error:
        log(
            f"ERROR:    [Errno {error.errno}] error while attempting to bind on address {(args.host, args.port)}: "
            f"{os.strerror(error.errno or 0).lower()}"
        )
        log("INFO:     Waiting for application shutdown.")
        log("INFO:     Application shutdown complete.")
        raise SystemExit(1) from None
    log(f"INFO:     Uvicorn running on http://{args.host}:{args.port} (Press CTRL+C to quit)")
    tasks = [lifespan, asyncio.create_task(_watch_scheduler(pid)), asyncio.create_task(_warm_up(args, endpoints))]
    tasks.append(asyncio.create_task(_drain_when_asked(endpoints, client)))
    async with server.socket:
        await asyncio.gather(*tasks)
        await server.socket.serve_forever()


def _assemble(args: ServerArgs, endpoints: Endpoints, metrics: Metrics) -> None:
    """The middleware that SGLang itself adds when it starts: in front of whatever was added to `app` before."""
    app.handler = endpoints.handle
    app.server_args = args
    if args.enable_metrics:
        app.add_middleware(CountedRequests, metrics, endpoints.knows)
    if args.api_key:
        app.add_middleware(BearerKey, [args.api_key], lambda path: not path.startswith(("/health", "/metrics")))


def _server_error(message: str, trace: str) -> None:
    log(f"ERROR:    {message}" + (f"\n{trace.rstrip()}" if trace else ""))


def _handle_signals(endpoints: Endpoints) -> None:
    def on_sigterm(signum: int, frame: object) -> None:
        log("SIGTERM received. signum=None frame=None. Draining requests and shutting down...")
        endpoints.stopping = True

    def on_sigquit(signum: int, frame: object) -> None:
        _child_failed()

    signal.signal(signal.SIGTERM, on_sigterm)
    signal.signal(signal.SIGQUIT, on_sigquit)


def _child_failed() -> NoReturn:
    """What follows a scheduler's death: SGLang sleeps first, deaf to everything, then kills its process tree."""
    log("SIGQUIT received. signum=None, frame=None. It usually means one child failed.")
    log("Sleeping 5 seconds before crash diagnostics to let GPU activity settle.")
    time.sleep(scaled(_SETTLE))
    log("No live scheduler processes found; skipping py-spy and CUDA coredump.")
    kill_process_tree()


async def _watch_scheduler(pid: int) -> None:
    while True:
        await asyncio.sleep(look_again(_WATCH))
        ended, status = os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 (it does not wait)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            log(f"Subprocess scheduler_0 (pid={pid}) crashed with exit code {code}. Triggering SIGQUIT for cleanup...")
            _child_failed()


async def _drain_when_asked(endpoints: Endpoints, client: EngineClient) -> None:
    # SGLang looks every five seconds whether a SIGTERM came, which is why a stop takes so long.
    while not endpoints.stopping:  # noqa: ASYNC110
        await asyncio.sleep(look_again(_DRAIN_LOOK))
    while True:
        waiting = client.active
        log(
            f"Gracefully exiting... Remaining number of requests {len(waiting)}. "
            f"Remaining requests remaining_rids={waiting}."
        )
        if not waiting:
            await asyncio.sleep(max(0.05, scaled(_LAST_WORDS)))  # the last answers are still being written
            kill_process_tree()
        await asyncio.sleep(scaled(_DRAIN_LOOK))


async def _warm_up(args: ServerArgs, endpoints: Endpoints) -> None:
    """The engine's own first requests, over its own port, as the real one sends them."""
    await asyncio.sleep(scaled(_WATCH) / 2)
    if not args.skip_server_warmup:
        await _request(args, "GET", "/model_info", b"")
        body = b'{"sampling_params":{"temperature":0,"max_new_tokens":8},"text":"The capital city of France is"}'
        await _request(args, "POST", "/generate", body)
    endpoints.up = True
    log("The server is fired up and ready to roll!")


async def _request(args: ServerArgs, method: str, path: str, body: bytes) -> None:
    host = "127.0.0.1" if args.host in (None, "", "0.0.0.0") else args.host
    reader, writer = await asyncio.open_connection(host, args.port)
    key = f"authorization: Bearer {args.api_key}\r\n" if args.api_key else ""
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{key}connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer[:20]:
        log(f"Initialization failed. warmup error: {answer[:200]!r}")
        kill_process_tree()
