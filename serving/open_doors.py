"""Does the engine answer strangers? Asked before a container gets ready."""

from __future__ import annotations

import http.client

from serving.engines import EngineModule
from serving.errors import ServingError
from serving.loopback import request
from serving.recipe import Recipe


def refuse_open_doors(recipe: Recipe, module: EngineModule, api_key: str) -> None:
    """Raises ServingError where the engine has a key and yet tells its metrics without: its gate is not there."""
    if not api_key:
        return
    try:
        status = request(recipe.port, "GET", module.METRICS_PATH).status
    except (OSError, http.client.HTTPException):
        return  # whatever that is, the warm-up meets it too and says it better
    if status != 401:
        raise ServingError(
            f"{module.TITLE} answers {module.METRICS_PATH} without the API key (HTTP {status}): the gate is not in "
            f"front of it. Next: check engine.image and engine.version ({recipe.engine.version}) in the recipe"
        )
