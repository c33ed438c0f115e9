"""Parameters of an app that is run by hand, without a stack: from the recipe named by GLM_SERVING_RECIPE."""

from __future__ import annotations

import os
from pathlib import Path

from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE, PipelineParams, ServerParams, read_params
from serving.recipe import Recipe, kernel_key, load_recipe

RECIPE_VARIABLE = "GLM_SERVING_RECIPE"
DEFAULT_RECIPE = "glm-5.1-fp8-b200"
_RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def pipeline_params() -> PipelineParams:
    """What the deploy handed over, else the recipe's own values."""
    if PARAMS_VARIABLE in os.environ:
        return read_params(PipelineParams)
    recipe = _recipe()
    return PipelineParams(app=f"{recipe.app}-pipeline", jobs_dict=_jobs_dict(recipe), recipe=recipe)


def server_params() -> ServerParams:
    """What the deploy handed over, else the recipe with the newest complete weights on its volume."""
    if PARAMS_VARIABLE in os.environ:
        return read_params(ServerParams)
    recipe = _recipe()
    commit = recipe.model.revision if recipe.model.pinned else _newest_commit(recipe)
    return ServerParams(
        app=recipe.app,
        release="by-hand",
        jobs_dict=_jobs_dict(recipe),
        recipe=recipe,
        commit=commit,
        kernel_key=kernel_key(recipe, commit),
    )


def _recipe() -> Recipe:
    name = os.environ.get(RECIPE_VARIABLE, DEFAULT_RECIPE)
    path = _RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _RECIPES.glob("*.yaml")))
        raise ServingError(f"{RECIPE_VARIABLE}={name}: no such recipe. Next: use one of {known}")
    return load_recipe(path)


def _jobs_dict(recipe: Recipe) -> str:
    return f"{recipe.app}-jobs"


def _newest_commit(recipe: Recipe) -> str:
    import modal

    from serving.manifest import MANIFEST

    name = recipe.volumes.weights.name
    next_step = "Next: modal run -m serving.apps.pipeline::download_model"
    try:
        entries = modal.Volume.from_name(name).listdir(recipe.model.folder, recursive=True)
    except (modal.exception.NotFoundError, FileNotFoundError):
        raise ServingError(f"volume {name} has no folder {recipe.model.folder}. {next_step}") from None
    manifests = [entry for entry in entries if Path(entry.path).name == MANIFEST]
    if not manifests:
        raise ServingError(f"volume {name} has no complete weights of {recipe.model.repo}. {next_step}")
    return Path(max(manifests, key=lambda entry: entry.mtime).path).parent.name
