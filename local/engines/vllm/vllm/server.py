"""The API server's process: binds its port, starts the engine, serves, and ends the ways vLLM ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

from standin import http
from standin.application import Application
from standin.channel import first_word
from standin.engine_client import EngineClient
from standin.environment import look_again
from standin.generation import EngineDead
from standin.middleware import BearerKey, Cors, add_by_path

from vllm import engine_config, engine_core, log
from vllm.endpoints import Endpoints
from vllm.engine_config import EngineConfig
from vllm.metrics import Metrics
from vllm.version import __version__

_WATCHDOG = 5.0
_GUARDED = ("/v1", "/v2", "/inference")
"""Paths that vLLM itself wants the key for; everything else is open."""


def run(args: argparse.Namespace, defaults: dict[str, Any]) -> NoReturn:
    """Serves until the engine dies or a signal comes, both with status 0; what goes wrong before ends it with 1."""
    log.set_process("APIServer")
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        _greet(args, defaults)
        engine_config.check_parsers(args)
        listener = _bind(args)
        config = engine_config.create(args, _non_default(args, defaults))
        pid, connection = engine_core.start(config)
        facts = _wait_ready(pid, connection)
        asyncio.run(_serve(config, facts, pid, connection, listener))
    except KeyboardInterrupt:
        log.plain(traceback.format_exc())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except Exception:
        log.plain(traceback.format_exc())
        sys.exit(1)
    sys.exit(0)


def _interrupted(signum: int, frame: object) -> None:
    raise KeyboardInterrupt("terminated")


def _greet(args: argparse.Namespace, defaults: dict[str, Any]) -> None:
    w, o = "█     █", "▄▄ ▄█"
    lines = ("", f"       {w}     █▄   ▄█", f" {o} {w}     █ ▀▄▀ █  version {__version__}",
             f"  █▄█▀ {w}     █     █  model   {args.model}", "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀", "")  # fmt: skip
    log.info("api_utils.py:339", "\n".join(lines))
    # vLLM logs the key with the other options where it was given as one.
    log.info("api_utils.py:273", f"non-default args: {_non_default(args, defaults)}")


def _non_default(args: argparse.Namespace, defaults: dict[str, Any]) -> dict[str, Any]:
    own = ("subparser", "dispatch_function")
    return {name: value for name, value in vars(args).items() if name not in own and value != defaults.get(name)}


def _bind(args: argparse.Namespace) -> socket.socket:
    """The port, taken before the engine is started: nothing listens on it until the engine is up."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((args.host or "", args.port))
    return listener


def _wait_ready(pid: int, connection: socket.socket) -> dict[str, float]:
    """What the engine says once it has loaded. Raises RuntimeError if it died instead."""
    try:
        facts = first_word(connection)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    if facts is None:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        raise RuntimeError(
            f"Engine core initialization failed. See root cause above. Failed core proc(s): {{'EngineCore': {code}}}"
        )
    return facts


async def _serve(
    config: EngineConfig, facts: dict[str, float], pid: int, connection: socket.socket, port: socket.socket
) -> None:
    metrics = Metrics(config, facts["pool"])
    client = EngineClient(connection, metrics.scheduler)
    await client.connect()
    log.info("api_server.py:579", "Supported tasks: ['generate']")
    ending = _Ending(config, client, pid)
    endpoints = Endpoints(config, client, metrics, ending.exit_soon.set)
    app = _build(config.args, endpoints)
    log.info("api_server.py:583", f"Starting vLLM server on http://{config.args.host or '0.0.0.0'}:{config.args.port}")
    log.info("launcher.py:37", "Available routes are:")
    for path, methods in endpoints.routes.items():
        log.info("launcher.py:46", f"Route: {path}, Methods: {', '.join(methods)}")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.asked)
    listener = http.Listener(_access_log(config.args), _server_error)
    log.plain(f"INFO:     Started server process [{os.getpid()}]")
    log.plain("INFO:     Waiting for application startup.")
    tasks = [await http.startup(app, listener)]
    log.plain("INFO:     Application startup complete.")
    server = await http.serve(app, port, listener)
    tasks += [asyncio.create_task(ending.watch_engine()), asyncio.create_task(ending.watchdog())]
    tasks.append(asyncio.create_task(_say(metrics, config.args)))
    await ending.exit_soon.wait()
    if ending.by_signal:
        log.info("launcher.py:149", "[shutdown] API server: shutting down FastAPI HTTP server")
    log.plain("INFO:     Shutting down")
    await server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    log.plain("INFO:     Waiting for application shutdown.")
    log.plain("INFO:     Application shutdown complete.")
    if not ending.by_signal:
        log.plain(f"INFO:     Finished server process [{os.getpid()}]")


def _build(args: argparse.Namespace, endpoints: Endpoints) -> Application:
    """The application with its middleware in vLLM's order: what --middleware names comes in front of vLLM's own."""
    app = Application()
    app.handler = endpoints.handle
    app.state.args = args
    app.add_middleware(Cors, credentials=bool(args.allow_credentials))
    # --api-key wins over the variable.
    keys = [key for key in (args.api_key or [os.environ.get("VLLM_API_KEY")]) if key]
    if keys:
        app.add_middleware(BearerKey, keys, lambda path: path.startswith(_GUARDED))
    for path in args.middleware:
        add_by_path(app, path)
    return app


def _access_log(args: argparse.Namespace) -> Any:
    quiet = {path.strip() for path in (args.disable_access_log_for_endpoints or "").split(",")}

    def write(access: http.Access) -> None:
        if not args.disable_uvicorn_access_log and access.target.partition("?")[0] not in quiet:
            log.plain(f"INFO:     {access.line}")

    return write


def _server_error(message: str, trace: str) -> None:
    log.plain(f"ERROR:    {message}" + (f"\n{trace.rstrip()}" if trace else ""))


async def _say(metrics: Metrics, args: argparse.Namespace) -> None:
    while not args.disable_log_stats:
        await asyncio.sleep(float(os.environ.get("VLLM_LOG_STATS_INTERVAL") or 10))
        metrics.say()


class _Ending:
    """How the server comes to its end: a signal, or the engine's death."""

    def __init__(self, config: EngineConfig, client: EngineClient, pid: int) -> None:
        self._config = config
        self._client = client
        self._pid = pid
        self._task: asyncio.Task[None] | None = None
        self.exit_soon = asyncio.Event()
        self.by_signal = False

    def asked(self) -> None:
        """SIGTERM or SIGINT; a second one changes nothing."""
        if self._task is None:
            self.by_signal = True
            log.info("launcher.py:100", "[shutdown] API server: shutdown triggered")
            self._task = asyncio.create_task(self._stop_engine())

    async def _stop_engine(self) -> None:
        """Gives the engine `--shutdown-timeout` seconds to finish what is under way. With 0, the default, it is killed
        right after it was asked, and requests fail as if it had died."""
        timeout = self._config.args.shutdown_timeout
        mode = "drain" if timeout else "abort"
        log.info("launcher.py:116", f"[shutdown] API server: stopping engine client mode={mode} timeout={timeout}s")
        log.info("core_client.py:652", f"[shutdown] MPClient: start timeout={timeout}s")
        deadline = time.monotonic() + timeout
        while self._client.active and time.monotonic() < deadline:  # noqa: ASYNC110 (it ends by the clock, too)
            await asyncio.sleep(0.02)
        try:
            if timeout and not self._client.active:
                os.kill(self._pid, signal.SIGTERM)
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - time.monotonic()):
                    await self._client.lost.wait()
        except TimeoutError:
            pass  # deaf to SIGTERM, which is dealt with next
        if not self._client.lost.is_set():
            log.warning("utils.py:607", "[shutdown] Process manager: force killing remaining processes count=1")
            os.kill(self._pid, signal.SIGKILL)
            await self._client.lost.wait()
        os.waitpid(self._pid, 0)  # noqa: ASYNC222 (it has ended)
        if self._client.active:
            log.error("async_llm.py:704", f"AsyncLLM output_handler failed.\nvllm.v1.engine.exceptions.{_DEAD}")
            self._client.fail(EngineDead())
        log.info("core_client.py:659", "[shutdown] MPClient: complete")
        log.info("launcher.py:125", "[shutdown] API server: engine client stopped")
        log.info("launcher.py:128", "[shutdown] API server: signalling HTTP server shutdown")
        self.exit_soon.set()

    async def watch_engine(self) -> None:
        """Fails what is under way as soon as the engine's process is gone."""
        await self._client.lost.wait()
        if self.by_signal:
            return
        _, status = os.waitpid(self._pid, 0)  # noqa: ASYNC222 (it has ended)
        if os.waitstatus_to_exitcode(status) < 0:
            log.warning("core_client.py:699", "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup")
        log.error("async_llm.py:704", f"AsyncLLM output_handler failed.\nvllm.v1.engine.exceptions.{_DEAD}")
        self._client.fail(EngineDead())

    async def watchdog(self) -> None:
        while True:
            await asyncio.sleep(look_again(_WATCHDOG))
            if (
                self._client.lost.is_set()
                and not self.by_signal
                and not os.environ.get("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH")
            ):
                self.exit_soon.set()


_DEAD = "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."
