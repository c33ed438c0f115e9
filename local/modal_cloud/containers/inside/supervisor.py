"""Process 1 of a container: starts the user's process, reaps, and obeys the cloud.

Messages on the control socket (SOCK_SEQPACKET, JSON, one per packet; file descriptors travel beside it):

    to the cloud      {"event": "forked", "pid"} · {"event": "running"} + one listening socket per port ·
                      {"event": "failed", "reason"} · {"event": "ended", "returncode"}
    from the cloud    {"id", "op": "signal", "number"} · {"id", "op": "connect", "port"} ·
                      {"id", "op": "swap", "layers"} · {"id", "op": "writing", "volume_id"}
    answers           {"id", "value"} or {"id", "errno", "reason"}; `connect` brings the connected socket
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

from local.modal_cloud.containers.inside import volume_mounts
from local.modal_cloud.containers.inside.layout import Layers, Layout

_LARGEST_MESSAGE = 1 << 16


def report(control: socket.socket, message: dict[str, Any], sockets: list[socket.socket] | None = None) -> None:
    socket.send_fds(control, [json.dumps(message).encode()], [each.fileno() for each in sockets or []])


def run(control: socket.socket, layout: Layout, listeners: list[socket.socket]) -> None:
    """Never returns."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    try:
        user_process = _spawn(layout, control)
    except OSError as error:
        report(control, {"event": "failed", "reason": str(error)})
        os._exit(70)
    report(control, {"event": "running"}, listeners)
    for listener in listeners:
        listener.close()  # the cloud's copies go on listening
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is control:
                    _obey(control, layout, user_process)
                else:
                    os.read(wake_read, 4096)
                    _reap(control, user_process)


def _spawn(layout: Layout, control: socket.socket) -> int:
    """Starts the user's process in the composed root, as the leader of a session of its own; its pid in here."""
    failure_read, failure_write = os.pipe()
    child = os.fork()
    if child:
        os.close(failure_write)
        with os.fdopen(failure_read, "rb") as stream:
            failure = stream.read()
        if failure:
            raise OSError(failure.decode())
        return child
    try:
        control.close()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.chroot(layout.root)
        os.makedirs(layout.workdir, exist_ok=True)
        os.chdir(layout.workdir)
        os.umask(0o022)
        os.execve(layout.argv[0], layout.argv, layout.environment)
    except BaseException as error:
        os.write(failure_write, f"cannot start {layout.argv[0]}: {error}".encode())
        os._exit(127)
    raise AssertionError("not reached")


def _reap(control: socket.socket, user_process: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == user_process:
            sys.stdout.flush()
            report(control, {"event": "ended", "returncode": os.waitstatus_to_exitcode(status)})
            os._exit(0)


def _obey(control: socket.socket, layout: Layout, user_process: int) -> None:
    message = control.recv(_LARGEST_MESSAGE)
    if not message:
        os._exit(0)  # the cloud is gone, and so are we
    request = json.loads(message)
    try:
        value = _execute(request, layout, user_process)
    except OSError as error:
        report(control, {"id": request["id"], "errno": error.errno or errno.EIO, "reason": str(error)})
        return
    if isinstance(value, socket.socket):
        report(control, {"id": request["id"], "value": None}, [value])
        value.close()
    else:
        report(control, {"id": request["id"], "value": value})


def _execute(request: dict[str, Any], layout: Layout, user_process: int) -> Any:
    match request["op"]:
        case "signal":
            os.kill(user_process, request["number"])
            return None
        case "connect":
            return _connect(request["port"])
        case "swap":
            return volume_mounts.swap_volume(layout.root, Layers(**request["layers"]))
        case "writing":
            return volume_mounts.files_being_written(layout.root, request["volume_id"])
        case unknown:
            raise OSError(errno.EINVAL, f"unknown operation {unknown}")


def _connect(port: int) -> socket.socket:
    """On loopback a connection is made or refused at once, unless the program's backlog is full (then: EAGAIN)."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(0.5)
    try:
        connection.connect(("127.0.0.1", port))
    except TimeoutError as error:
        connection.close()
        raise OSError(errno.EAGAIN, f"port {port} doesn't accept connections") from error
    except OSError:
        connection.close()
        raise
    connection.setblocking(False)
    return connection
