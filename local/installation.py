"""One local stack: its folder, and what is decided once and remembered there (ports, token)."""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_ANY_PORT = range(20000, 32000)
"""Below the range from which the kernel takes the ports of outgoing connections: a remembered port stays free."""


def default_folder() -> Path:
    """$LOCAL_DIR, or `.local` in the repository."""
    return Path(os.environ.get("LOCAL_DIR") or REPOSITORY / ".local").absolute()


@dataclass(frozen=True)
class Installation:
    folder: Path
    port: int
    """gRPC: MODAL_SERVER_URL."""
    http_port: int
    """Bulk data of the cloud."""
    hub_port: int
    token_id: str
    token_secret: str = field(repr=False)

    @classmethod
    def open(cls, folder: Path, port: int | None = None) -> Installation:
        """Reads what is remembered, or decides and remembers it. Raises ValueError for a `port` that differs from the
        remembered one, OSError where the folder can't be written."""
        file = folder / "installation.json"
        if file.exists():
            installation = cls(folder=folder, **json.loads(file.read_text(encoding="utf-8")))
            if port is not None and port != installation.port:
                raise ValueError(
                    f"{folder} belongs to port {installation.port}, and URLs of deployed apps depend on it:"
                    " leave --port out, or give another --dir"
                )
            return installation
        folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(3)
        installation = cls(
            folder=folder,
            port=port or ports[0],
            http_port=ports[1],
            hub_port=ports[2],
            token_id=f"ak-{secrets.token_hex(11)}",
            token_secret=f"as-{secrets.token_hex(11)}",
        )
        facts = {key: value for key, value in asdict(installation).items() if key != "folder"}
        part = file.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps(facts, indent=2), encoding="utf-8")
        part.replace(file)
        return installation

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def running(self) -> Path:
        """Written by the daemon once everything answers, removed at its end."""
        return self.folder / "daemon.json"

    @property
    def hub_folder(self) -> Path:
        return self.folder / "hub"

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.hub_port}"

    @property
    def hub_token(self) -> str | None:
        """None before the Hub's first start."""
        file = self.hub_folder / "token"
        return file.read_text(encoding="utf-8").strip() if file.exists() else None

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What clients need: the modal SDK and CLI, huggingface_hub."""
        bypass = [*os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(","), "127.0.0.1", "localhost"]
        no_proxy = ",".join(dict.fromkeys(host for host in bypass if host))
        variables = {
            "MODAL_SERVER_URL": self.server_url,
            "MODAL_TOKEN_ID": self.token_id,
            "MODAL_TOKEN_SECRET": self.token_secret,
            "HF_ENDPOINT": self.hub_url,
            "LOCAL_DIR": str(self.folder),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
        token = self.hub_token
        if token is not None:
            variables["HF_TOKEN"] = token
        return variables


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nobody listens on. Raises OSError when there are none."""
    found: list[int] = []
    for port in random.sample(_ANY_PORT, len(_ANY_PORT)):
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {_ANY_PORT.start} and {_ANY_PORT.stop}")
