"""The serving app from outside: its URL and its autoscaler."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from components.modal_api.errors import explained, patient

SERVER_CLASS = "Server"
WEB_METHOD = "serve"


@patient
def serving_url(environment: str, app: str, ingress: str) -> str:
    with explained(f"app {app}", environment):
        if ingress == "server":
            return (_server(environment, app).get_url() or "").rstrip("/")
        return (_web_function(environment, app).get_web_url() or "").rstrip("/")


@patient
def update_autoscaler(environment: str, app: str, ingress: str, autoscaler: dict[str, Any]) -> None:
    """Overrides the live autoscaler; nothing is redeployed or restarted. Keys are those of `AUTOSCALER_KEYS`."""
    with explained(f"app {app}: autoscaler", environment):
        settings = {AUTOSCALER_KEYS[key]: value for key, value in autoscaler.items()}
        _serving_function(environment, app, ingress).autoscaler.update(**settings)


@patient
def read_autoscaler(environment: str, app: str, ingress: str, names: list[str]) -> dict[str, Any]:
    """The live settings of these keys of `AUTOSCALER_KEYS`; what Modal calls unset is 0."""
    with explained(f"app {app}: autoscaler", environment):
        settings = _serving_function(environment, app, ingress).autoscaler.settings()
    return {name: getattr(settings, AUTOSCALER_KEYS[name]) or 0 for name in names}


def replica_is_pending(environment: str, app: str) -> bool:
    """Whether Modal has a container of the app in mind and has not started it, such as for want of free GPUs."""
    # The SDK has no public way to ask; the command line also lists what has not started.
    finished = subprocess.run(
        [sys.executable, "-m", "modal", "container", "list", "--json", "--env", environment],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        return False  # only asked to say more about a failure
    return any(row["app_name"] == app and row["start_time"] == "Pending" for row in json.loads(finished.stdout))


AUTOSCALER_KEYS = {
    "minContainers": "min_containers",
    "maxContainers": "max_containers",
    "bufferContainers": "buffer_containers",
    "scaledownWindow": "scaledown_window",
    "targetConcurrency": "target_concurrency",
}
"""Settings a running app takes over without a new version, and the SDK's names for them."""


def _serving_function(environment: str, app: str, ingress: str) -> Any:
    return _server(environment, app) if ingress == "server" else _web_function(environment, app)


def _server(environment: str, app: str) -> Any:
    import modal

    return modal.Server.from_name(app, SERVER_CLASS, environment_name=environment)


def _web_function(environment: str, app: str) -> Any:
    import modal

    return getattr(modal.Cls.from_name(app, SERVER_CLASS, environment_name=environment)(), WEB_METHOD)
