"""A serving app's live autoscaler, as a function that runs on Modal with its own identity sees it."""

from __future__ import annotations

from typing import Any

import modal

CLASS, METHOD = "Server", "serve"


class Autoscaler:
    def __init__(self, app: str, ingress: str) -> None:
        """Of an app in the environment of the container that asks."""
        if ingress == "server":
            self._function: Any = modal.Server.from_name(app, CLASS)
        else:
            self._function = getattr(modal.Cls.from_name(app, CLASS)(), METHOD)

    def settings(self) -> dict[str, int]:
        """What holds now; what Modal calls unset is 0."""
        live = self._function.autoscaler.settings()
        names = ("min_containers", "max_containers", "buffer_containers", "scaledown_window")
        return {name: getattr(live, name) or 0 for name in names}

    def update(self, **settings: int) -> bool:
        """In place, nothing restarts. False where all of it holds already."""
        live = self.settings()
        if all(live.get(name, value) == value for name, value in settings.items()):
            return False
        self._function.autoscaler.update(**settings)
        return True
