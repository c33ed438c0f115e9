"""One container as the cloud sees it: started, signalled, connected to, waited for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from local.modal_cloud.containers.control import ControlChannel, Gone
from local.modal_cloud.containers.inside.layout import Layers, Layout
from local.modal_cloud.containers.output import LinePump

_REPOSITORY = Path(__file__).parents[3]
_SET_UP_SECONDS = 60.0
_OUTPUT_GRACE = 2.0
"""Seconds to wait for the end of the output after the last process is gone: the pipes end with it."""


class StartFailed(OSError):
    """The namespaces, mounts or the first process of a container could not be created; the text says which."""


class ContainerProcess:
    """A process tree in namespaces of its own. Create with `await ContainerProcess.start(…)`."""

    def __init__(self) -> None:
        self._outer: subprocess.Popen[bytes]
        self._control: ControlChannel
        loop = asyncio.get_running_loop()
        self._running: asyncio.Future[list[socket.socket]] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._first_pid: int | None = None
        self._returncode: int | None = None
        self._killed = False
        self._pumps: list[LinePump] = []
        self.listeners: list[socket.socket] = []
        """Sockets that listen inside on the layout's ports, in the same order; accept from them out here."""

    @classmethod
    async def start(cls, layout: Layout, take_line: Callable[[int, str], None]) -> ContainerProcess:
        """`take_line(descriptor, text)` gets the output: descriptor 1 or 2. Raises StartFailed."""
        container = cls()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        container._outer = _spawn(layout, theirs)
        container._control = ControlChannel(ours, container._on_event)
        container._watch_death()
        for descriptor, stream in ((1, container._outer.stdout), (2, container._outer.stderr)):
            await container._pump(descriptor, stream, take_line)
        try:
            async with asyncio.timeout(_SET_UP_SECONDS):
                container.listeners = await container._running
        except TimeoutError:
            container.kill()
            raise StartFailed(f"the container could not be set up within {_SET_UP_SECONDS:.0f} s") from None
        except BaseException:
            container.kill()
            await container.wait()
            raise
        return container

    @property
    def pid(self) -> int:
        """Host pid of the container's process 1."""
        return self._first_pid or self._outer.pid

    async def wait(self) -> int:
        """Return code of the user's process (negative: signal), once nothing of the container is left and its output
        has been handed over. -9 when the whole container was killed."""
        await asyncio.shield(self._ended)
        await asyncio.wait([pump.ended for pump in self._pumps], timeout=_OUTPUT_GRACE)
        return self._ended.result()

    @property
    def ended(self) -> bool:
        """The user's process is gone, or more; `wait` may still be busy with what it left."""
        return self._ended.done() or self._returncode is not None or self._killed

    def send_signal(self, number: signal.Signals) -> None:
        """To the user's process alone."""
        self._control.tell("signal", number=int(number))

    def kill(self) -> None:
        """Ends every process of the container: they all die with process 1."""
        if self._ended.done() or self._killed:
            return
        self._killed = True
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._first_pid or self._outer.pid, signal.SIGKILL)

    async def connect(self, port: int) -> socket.socket:
        """A connection to 127.0.0.1:port inside. Raises OSError (ConnectionRefusedError: nobody listens)."""
        try:
            connection: socket.socket = await self._control.request("connect", port=port)
        except Gone as error:
            raise ConnectionRefusedError(f"the container of port {port} has ended") from error
        return connection

    async def swap_volume(self, layers: Layers) -> None:
        """Replaces a volume's view. Raises OSError(EBUSY) while files of it are open, Gone once ended."""
        await self._control.request("swap", layers=dataclasses.asdict(layers))

    async def files_being_written(self, volume_id: str) -> set[str]:
        """Paths relative to the volume. Raises Gone once ended."""
        return set(await self._control.request("writing", volume_id=volume_id))

    def _on_event(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        match message["event"]:
            case "forked":
                self._first_pid = message["pid"]
            case "running":
                self._running.set_result(sockets)
            case "failed":
                self._running.set_exception(StartFailed(message["reason"]))
            case "ended":
                self._returncode = message["returncode"]

    def _watch_death(self) -> None:
        """A pidfd, not the pipes: these stay open as long as any orphan holds them."""
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self._outer.pid)

        def died() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._outer.wait()
            self._control.drain()
            self._control.close()
            if not self._running.done():
                self._running.set_exception(StartFailed("the container ended while it was being set up"))
            self._ended.set_result(-signal.SIGKILL if self._returncode is None else self._returncode)

        loop.add_reader(pidfd, died)

    async def _pump(self, descriptor: int, stream: IO[bytes] | None, take_line: Callable[[int, str], None]) -> None:
        pump = LinePump(lambda text: take_line(descriptor, text))
        self._pumps.append(pump)
        await asyncio.get_running_loop().connect_read_pipe(lambda: pump, stream)


def _spawn(layout: Layout, control: socket.socket) -> subprocess.Popen[bytes]:
    """Starts the outer process; closes `control` on this side."""
    # A file in memory: the layout holds secrets, which belong neither into argv nor on the disk.
    document = os.memfd_create("layout")
    try:
        with open(document, "wb", closefd=False) as stream:
            stream.write(json.dumps(dataclasses.asdict(layout)).encode())
        os.lseek(document, 0, os.SEEK_SET)
        program = (
            f"import sys; sys.path.insert(0, {str(_REPOSITORY)!r}); "
            f"from local.modal_cloud.containers.inside import start; start.main({control.fileno()})"
        )
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=document,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[control.fileno()],
            start_new_session=True,
            cwd="/",
            env={},
        )
    finally:
        os.close(document)
        control.close()
