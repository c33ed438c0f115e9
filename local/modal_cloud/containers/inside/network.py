"""The container's own network: one interface called `eth0`, and 127.0.0.1.

Modal's runtime asks for the address of `eth0` and reaches web servers there, so that users are forced to bind to
0.0.0.0. A fresh network namespace has `lo` only: renamed while it is down, it stays a loopback device under the
other name, so both addresses work without a bridge or any privilege on the host.
"""

from __future__ import annotations

import fcntl
import socket
import struct

ADDRESS = "172.20.0.2"

_SIOCSIFNAME = 0x8923
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def set_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFNAME, struct.pack("16s16s8x", b"lo", b"eth0"))
        _set_up_flag(control, b"eth0")
        # Going up gave the device 127.0.0.1; setting its address replaces that, so that 127.0.0.1 comes back as alias.
        _set_address(control, b"eth0", ADDRESS, "255.255.255.0")
        _set_address(control, b"eth0:0", "127.0.0.1", "255.0.0.0")


def _set_address(control: socket.socket, interface: bytes, address: str, netmask: str) -> None:
    for request, text in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, netmask)):
        # struct ifreq with a sockaddr_in: family, port, address.
        fields = struct.pack("16sHH4s8x", interface, socket.AF_INET, 0, socket.inet_aton(text))
        fcntl.ioctl(control, request, fields.ljust(40, b"\0"))


def _set_up_flag(control: socket.socket, interface: bytes) -> None:
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh22x", interface, 0))
    (flags,) = struct.unpack_from("h", answer, 16)
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", interface, flags | _IFF_UP))
