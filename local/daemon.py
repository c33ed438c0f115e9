"""The process behind `python -m local start`: the cloud, and the Hub in a process of its own beside it."""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request

from local import garbage
from local.installation import REPOSITORY, Installation
from local.log_lines import JsonLines

log = logging.getLogger("local.daemon")

HUB_START_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def run(installation: Installation, verbose: bool = False, for_people: bool = False) -> int:
    """Until SIGTERM or SIGINT. Returns 1 after a start that failed, having logged one line that says why."""
    handler = logging.StreamHandler()
    words = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(words if for_people else JsonLines())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    for noisy in ("hpack", "asyncio", "grpclib", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        asyncio.run(_run(installation))
    except StartFailed as error:
        log.error("%s", error)
        return 1
    return 0


class StartFailed(Exception):
    """One line: what, why, what to do."""


async def _run(installation: Installation) -> None:
    with garbage.left_alone():
        from local.modal_cloud.cloud import AlreadyRunning, Cloud, CloudSettings
        from local.modal_cloud.containers.probe import CannotIsolate
        from local.modal_cloud.folders import Folders

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = CloudSettings(
        port=installation.port,
        http_port=installation.http_port,
        token_id=installation.token_id,
        token_secret=installation.token_secret,
        container_environment={"HF_ENDPOINT": installation.hub_url},
        container_ports=[installation.hub_port],
    )
    try:
        cloud = Cloud(Folders(installation.folder), settings)
    except AlreadyRunning as error:
        raise StartFailed(f"{error}: python -m local stop --dir {installation.folder}") from None
    hub = Hub(installation)
    try:
        await hub.start()
        try:
            await cloud.start()
        except CannotIsolate as error:
            raise StartFailed(str(error)) from None
        except OSError as error:
            raise StartFailed(
                f"the local cloud can't listen ({error.strerror or error}): end the program that uses port"
                f" {installation.port} or {installation.http_port}, or start over with another --dir"
            ) from None
        installation.running.write_text(json.dumps({"pid": os.getpid()}), encoding="utf-8")
        log.info("serving %s, hub %s", installation.server_url, installation.hub_url)
        await stop.wait()
        log.info("stopping")
    finally:
        installation.running.unlink(missing_ok=True)
        await cloud.close()
        await hub.close()


class Hub:
    """`python -m local.hub`, started again when it dies. It ends with this process, however that ends."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it answers. Without the package `local.hub` there is no Hub, which is logged."""
        if importlib.util.find_spec("local.hub") is None:
            log.warning("local/hub is not installed: there is no Hub")
            return
        await self._launch()
        deadline = asyncio.get_running_loop().time() + HUB_START_SECONDS
        while not await asyncio.to_thread(answers, self._installation.hub_url):
            if self._process is None or self._process.returncode is not None:
                raise StartFailed(f"the Hub ended at once; its last words are in {self._installation.log}")
            if asyncio.get_running_loop().time() > deadline:
                raise StartFailed(f"the Hub does not answer on port {self._installation.hub_port}")
            await asyncio.sleep(0.02)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()

    async def _launch(self) -> None:
        folder, port = self._installation.hub_folder, self._installation.hub_port
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local.hub", "--dir", str(folder), "--port", str(port)),
            cwd=REPOSITORY,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )

    async def _watch(self) -> None:
        while True:
            if self._process is not None:
                code = await self._process.wait()
                log.error("the Hub ended with %s: starting it again", code)
            await asyncio.sleep(1)
            await self._launch()


def answers(url: str) -> bool:
    """Whether an HTTP server is there, whatever it says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
