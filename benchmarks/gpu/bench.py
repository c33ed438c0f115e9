"""One benchmark's folder: the derived recipe, the phases' results, the logs."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.derived_recipe import COMMIT
from serving.recipe import Recipe, kernel_key


class Bench:
    """Everything a phase leaves for the next one lies in `work`; a phase may run in another process or call."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.logs = work / "logs"
        self.results = work / "results"
        for folder in (self.logs, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def recipe(self) -> Recipe:
        return Recipe.model_validate_json((self.work / "recipe.json").read_text(encoding="utf-8"))

    @property
    def commit(self) -> str:
        return COMMIT

    @property
    def kernel_key(self) -> str:
        return kernel_key(self.recipe, COMMIT)

    @property
    def api_key(self) -> str:
        """Made once; odd characters included, because a key may have them."""
        path = self.work / "api-key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(f"sk-{secrets.token_urlsafe(24)}'\"%", encoding="utf-8")
        return path.read_text(encoding="utf-8")

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def save(self, phase: str, result: Any) -> None:
        """Written at once: a phase that is cut off keeps what it has measured."""
        path = self.results / f"{phase}.json"
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def load(self, phase: str) -> Any:
        """What `save` wrote; None where the phase has not run."""
        path = self.results / f"{phase}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)
