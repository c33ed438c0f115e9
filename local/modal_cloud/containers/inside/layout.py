"""What process 1 of a container is told: plain JSON types, written by `containers.process`, read by `inside.start`."""

from __future__ import annotations

from dataclasses import dataclass, field

VOLUMES = "/__modal/volumes"
"""Inside, each volume is mounted below this folder; its mount paths are symbolic links to it, as on Modal (whose SDK
looks here for the open files that prevent a reload)."""
RUNTIME = "/run/modal"
"""Inside: the container's gRPC socket and its arguments."""


@dataclass
class Layers:
    """The folders (on the host) behind one volume's view."""

    volume_id: str
    lowers: list[str]
    """What nothing changes any more, newest first: own writes of earlier commits, then the snapshot of the committed
    content that this container sees."""
    upper: str
    """Its own writes. Empty for read-only mounts."""
    work: str
    """overlayfs' own scratch folder, on the same file system as `upper`."""
    space: int = 0
    """Bytes that fit into `upper`, which is then a file system in memory of that size; 0: as many as the disk has."""

    @property
    def read_only(self) -> bool:
        return not self.upper


@dataclass
class Layout:
    user_namespace: bool
    """Get the rights to mount from a user namespace (the emulator doesn't run as root)."""
    root: str
    """Host folder that becomes `/`; already holds everything that is the container's own."""
    private: list[str]
    """Top-level folders (or `/var/tmp`) of which nothing of the host is shown."""
    exposed: list[str]
    """Host paths below private or hidden folders that are shown all the same: interpreter, engines, `python`."""
    hidden: list[str]
    """Host folders shown empty: $LOCAL_DIR."""
    masked: list[str]
    """Host files shown empty: what an editable install adds to sys.path."""
    runtime: str
    """Host folder shown as RUNTIME."""
    volumes: list[Layers]
    ports: list[int]
    """Loopback ports to listen on, for what the host offers."""
    argv: list[str]
    workdir: str
    environment: dict[str, str] = field(repr=False)
