"""Does the engine answer strangers? Asked before a container gets ready."""

from __future__ import annotations

import http.client

from serving.engines import EngineModule
from serving.errors import ServingError
from serving.loopback import request
from serving.recipe import Recipe

_PREFLIGHT = {"Origin": "https://example.com", "Access-Control-Request-Method": "GET"}
_WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("GET", ()),
    ("OPTIONS", ()),
    ("OPTIONS", ("Access-Control-Request-Method",)),
    ("OPTIONS", ("Origin", "Access-Control-Request-Method")),
)
"""Method and headers. Engines let every OPTIONS past their own check of the key, and the metrics answer any method."""


def refuse_open_doors(recipe: Recipe, module: EngineModule, api_key: str) -> None:
    """Raises ServingError where the engine has a key and yet tells its metrics without: its gate is not there."""
    if not api_key:
        return
    for method, names in _WAYS:
        headers = {name: _PREFLIGHT[name] for name in names}
        try:
            status = request(recipe.port, method, module.METRICS_PATH, headers=headers).status
        except (OSError, http.client.HTTPException):
            return  # whatever that is, the warm-up meets it too and says it better
        if status != 401:
            raise ServingError(
                f"{module.TITLE} answers {method} {module.METRICS_PATH} without the API key (HTTP {status}): the gate "
                f"is not in front of it. Next: check engine.image and engine.version ({recipe.engine.version}) in the "
                "recipe"
            )
