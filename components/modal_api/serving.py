"""The serving app from outside: its URL and its autoscaler."""

from __future__ import annotations

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


@patient
def waits_for_replica(environment: str, app: str, ingress: str) -> bool:
    """Whether no container of the serving app runs, ready or not: Modal has none to give yet, such as one with free
    GPUs, or none is asked for.
    """
    import modal

    with explained(f"app {app}", environment):
        if ingress == "server":
            function = modal.Function.from_name(app, SERVER_CLASS, environment_name=environment)
        else:
            function = _web_function(environment, app)
        return not function.get_current_stats().num_total_runners


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
