"""What differs between engines, behind one small interface: adding an engine is adding a module here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Protocol, cast

from serving.recipe import Recipe


class EngineModule(Protocol):
    """The functions and constants of `serving/engines/<engine.name>.py`."""

    TITLE: str
    """How log lines call the engine."""
    HEALTH_PATH: str
    METRICS_PATH: str
    READY_LINE: re.Pattern[str]
    """The line after which the health endpoint is worth asking at once."""

    def launch_command(self, recipe: Recipe, model_path: str, config_path: str | None) -> list[str]:
        """The serving process. The API key is in the file at `config_path`, never in the arguments."""
        ...

    def config_file(self, api_key: str, release: str) -> str:
        """Content of that file. The engine's answers carry the `release` where it can do that."""
        ...

    def compile_command(self, recipe: Recipe, model_path: str) -> list[str]:
        """The process that fills the kernel caches; gets no key."""
        ...

    def engine_environment(self, recipe: Recipe, kernel_path: str, *, compiling: bool = False) -> dict[str, str]:
        """Variables to set on top of the container's own."""
        ...

    def cache_folders(self) -> dict[str, str]:
        """Folder of the kernel artifact by the environment variable that points the engine to it."""
        ...

    def busy(self, metrics: Mapping[str, float]) -> float:
        """Requests running or queued, from `/metrics` summed over labels."""
        ...

    def finished_requests(self, metrics: Mapping[str, float]) -> int:
        """How many requests this process has answered."""
        ...

    def progress(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Numbers of which at least one changes as long as running requests get anywhere."""
        ...


def engine_for(recipe: Recipe) -> EngineModule:
    return cast(EngineModule, importlib.import_module(f"serving.engines.{recipe.engine.name}"))
