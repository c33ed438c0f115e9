"""Entry of a container: `python -I -S -c "… start.main(CONTROL_FD)"` with the layout as JSON on standard input.

Two processes come of it. The outer one only creates the namespaces and waits, so that its end means that nothing of
the container is left. The inner one is process 1 of the container: it composes the file system, starts the user's
process and then obeys the cloud through the control socket (`supervisor`). When the cloud dies, the control socket
closes, process 1 ends, and the kernel ends everything else in the process namespace and drops all its mounts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

from local.modal_cloud.containers.inside import filesystem, network, supervisor, syscalls, volume_mounts
from local.modal_cloud.containers.inside.layout import Layers, Layout

FAILED = 70
"""Exit status of the outer process when the container could not be set up; the control socket has said why."""


def main(control_fd: int) -> None:
    control = socket.socket(fileno=control_fd)
    layout = _read_layout()
    # An interactive Ctrl-C is meant for the emulator, which then ends its containers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _enter_namespaces(layout)
        first = os.fork()
    except OSError as error:
        supervisor.report(control, {"event": "failed", "reason": str(error)})
        sys.exit(FAILED)
    if first:
        supervisor.report(control, {"event": "forked", "pid": first})
        control.close()
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    syscalls.die_with_parent(signal.SIGKILL)
    try:
        network.set_up()
        listeners = [_listen(port) for port in layout.ports]
        filesystem.build(layout)
        volume_mounts.mount_volumes(layout.root, layout.volumes)
    except OSError as error:
        supervisor.report(control, {"event": "failed", "reason": str(error)})
        os._exit(FAILED)
    supervisor.run(control, layout, listeners)


def _read_layout() -> Layout:
    with os.fdopen(0, "rb", closefd=False) as stream:
        document = json.loads(stream.read())
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    volumes = [Layers(**layers) for layers in document.pop("volumes")]
    return Layout(volumes=volumes, **document)


def _enter_namespaces(layout: Layout) -> None:
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC
    if not layout.user_namespace:
        syscalls.unshare(flags)
        return
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
