"""Parameters of an app that is run by hand, without a stack: from the recipe named by GLM_SERVING_RECIPE."""

from __future__ import annotations

import os
from pathlib import Path

from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE, PipelineParams, ServerParams, read_params
from serving.recipe import Recipe, kernel_key, load_recipe

RECIPE_VARIABLE = "GLM_SERVING_RECIPE"
DEFAULT_RECIPE = "glm-5.1-fp8-b200"
_DOWNLOAD = "modal run -m serving.apps.pipeline::download_model"
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


def downloaded_commit(recipe: Recipe) -> str:
    """Inside a container, the commit to work on when none was given: the recipe's, else the newest complete one on the
    mounted volume. Raises ServingError.
    """
    from serving.manifest import MANIFEST

    if recipe.model.pinned:
        return recipe.model.revision
    folder = Path(recipe.volumes.weights.mount_path) / recipe.commits_folder
    manifests = sorted(folder.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise ServingError(
            f"weights: volume {recipe.volumes.weights.name} has no complete download of {recipe.model.repo}. "
            f"Next: {_DOWNLOAD}"
        )
    return manifests[-1].parent.name


def _newest_commit(recipe: Recipe) -> str:
    """The same from outside, through Modal's listing of the volume."""
    import modal

    from serving.manifest import MANIFEST

    name = recipe.volumes.weights.name
    next_step = f"Next: {_DOWNLOAD}"
    try:
        entries = modal.Volume.from_name(name).listdir(recipe.commits_folder, recursive=True)
    except (modal.exception.NotFoundError, FileNotFoundError):
        raise ServingError(f"volume {name} has no folder {recipe.commits_folder}. {next_step}") from None
    manifests = [entry for entry in entries if Path(entry.path).name == MANIFEST]
    if not manifests:
        raise ServingError(f"volume {name} has no complete weights of {recipe.model.repo}. {next_step}")
    return Path(max(manifests, key=lambda entry: entry.mtime).path).parent.name
