"""What the two Modal apps are told at deploy time, as one JSON document in one environment variable.

App modules declare their functions at import, in a fresh subprocess for each deploy and again inside every
container; both read the same document. Nothing in it is secret.
"""

from __future__ import annotations

import os
from typing import Literal, TypeVar

from pydantic import Field

from serving.recipe import Recipe
from serving.recipe_sections import Data

PARAMS_VARIABLE = "GLM_SERVING_PARAMS"

P = TypeVar("P", bound="Data")


class PipelineParams(Data):
    app: str
    stack: str = ""
    owner: str = ""
    """Whose the app is: a stack, and the token of its resource; empty for one that is run by hand."""
    jobs_dict: str
    recipe: Recipe
    nonpreemptible_download: bool = False


class Scaling(Data):
    """Containers, seconds and concurrent inputs per container. Ranges are checked in infra/settings.py."""

    min_containers: int = 0
    max_containers: int = 1
    buffer_containers: int = 0
    scaledown_window: int = 900
    target_concurrency: int = 20
    max_concurrency: int | None = None


class Capacity(Data):
    """On what and where things run. Names are checked in infra/capacity.py."""

    gpu_fallbacks: list[str] = Field(default_factory=list, description="GPU types, after the recipe's own, best first")
    regions: list[str] = Field(default_factory=list, description="of the replicas; empty: wherever there are GPUs")
    routing_region: str | None = None
    nonpreemptible_download: bool = False


class ServerParams(Data):
    app: str
    stack: str = ""
    owner: str = ""
    """Whose the app is: a stack, and the token of its resource; empty for one that is run by hand."""
    release: str
    """Names this deployment; a container reports under it how its start ended."""
    jobs_dict: str
    recipe: Recipe
    commit: str
    """40-hex commit of the weights."""
    kernel_key: str
    ingress: Literal["web", "server"] = "web"
    scaling: Scaling = Scaling()
    gpu_fallbacks: list[str] = Field(default_factory=list)
    regions: list[str] = Field(default_factory=list)
    routing_region: str | None = None
    proxy_auth: bool = False


def read_params(model: type[P]) -> P:
    """The parameters of the app being imported. Raises KeyError where the variable is missing."""
    return model.model_validate_json(os.environ[PARAMS_VARIABLE])
