"""Ordering faults of the local cloud and its Hub from outside: what `python -m local fault` and tests use.

    faults = Faults.of(folder)            # $LOCAL_DIR of a cloud that runs
    faults.rpc("VolumeCommit", status="UNAVAILABLE", times=3)
    faults.hub("429", match="GET .*00002", retry_after=1)
    faults.listed()
    faults.clear()

Each method returns the fault as the cloud sees it; its `id` takes it back one by one. Wrong ones raise Refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.control_api import ask
from local.installation import Installation

SPEND_LIMIT = "Function call failed: workspace billing cycle spend limit reached"
"""How Modal words it (modal-labs/modal-client issue 3397)."""


@dataclass(frozen=True)
class Faults:
    cloud_url: str
    hub_url: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, folder: Path | str) -> Faults:
        installation = Installation.open(Path(folder))
        url = f"http://127.0.0.1:{installation.http_port}/control/faults"
        return cls(url, f"{installation.hub_url}/_local/faults", installation.token_secret)

    # -- Modal

    def rpc(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """`status` and `message`, `delay` or `drop` ("request", "answer"); see modal_cloud.faults.rules.RpcFault."""
        return self.order(kind="rpc", rpc=rpc, **fields)

    def quota(self, rpc: str = "FunctionMap", message: str = SPEND_LIMIT, **fields: Any) -> dict[str, Any]:
        """A limit of the workspace is reached: starting calls is refused, until cleared."""
        return self.rpc(rpc, status="RESOURCE_EXHAUSTED", message=message, **{"times": None, **fields})

    def kill(self, container: str, at: str = "start", **fields: Any) -> dict[str, Any]:
        """`container` is a pattern of APP/FUNCTION; phases are modal_cloud.faults.rules.PHASES."""
        return self.order(kind="kill", container=container, at=at, **fields)

    def preempt(self, container: str, **fields: Any) -> dict[str, Any]:
        """An interrupt, `grace` seconds, the end; now, or `at` a phase. See modal_cloud.faults.rules."""
        return self.order(kind="preempt", container=container, **fields)

    def lose_heartbeat(self, container: str, **fields: Any) -> dict[str, Any]:
        return self.order(kind="heartbeat", container=container, **fields)

    def break_image(self, match: str, **fields: Any) -> dict[str, Any]:
        """Layers whose commands contain `match` fail to build."""
        return self.order(kind="image", match=match, **fields)

    def gpus(self, gpu: str, total: int = 0, **fields: Any) -> dict[str, Any]:
        """Only so many GPUs of the type exist, until cleared."""
        return self.order(kind="gpus", gpu=gpu, total=total, **fields)

    def volume(self, volume: str, **fields: Any) -> dict[str, Any]:
        """`delay` makes it slow, `free` full: so many more bytes fit. Until cleared."""
        return self.order(kind="volume", volume=volume, **fields)

    def order(self, **document: Any) -> dict[str, Any]:
        ordered: dict[str, Any] = self._ask(self.cloud_url, "POST", document)
        return ordered

    # -- the Hub

    def hub(self, kind: str, match: str = "", **fields: Any) -> dict[str, Any]:
        """A status (`401`, `403`, `404`, `429`, `500` …), or close, reset, stall, wrong_bytes, slow; `match` is a
        regular expression of "METHOD /path". See hub.faults."""
        status = {"kind": "status", "status": int(kind)} if kind.isdigit() and kind != "429" else {"kind": kind}
        ordered: dict[str, Any] = self._ask(self.hub_url, "POST", {"match": match, **status, **fields})
        return ordered

    # -- both

    def listed(self) -> list[dict[str, Any]]:
        """All faults ordered, the Hub's with ids such as `hub-1`."""
        return [*self._ask(self.cloud_url, "GET"), *self._ask(self.hub_url, "GET")]

    def clear(self, *ids: str | int) -> None:
        """Takes back these, or all; a stalled download goes on then."""
        if not ids:
            self._ask(self.cloud_url, "DELETE")
            self._ask(self.hub_url, "DELETE")
        for each in map(str, ids):
            url = self.hub_url if each.startswith("hub-") else self.cloud_url
            self._ask(f"{url}/{each.removeprefix('hub-')}", "DELETE")

    def _ask(self, url: str, method: str, document: dict[str, Any] | None = None) -> Any:
        return ask(url, self.secret, method, document)
