"""What a preview says about a recipe: its flags, combinations known to be broken, and whether it fits its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.flag_limits import out_of_bounds, unservable
from recipes.flags import catalogue, combinations
from recipes.memory_fit import fit_memory
from serving.errors import ServingError
from serving.recipe import Recipe


def check_recipe(
    path: Path, recipe: Recipe, overrides: Mapping[str, Any], problems: list[str], warnings: list[str]
) -> None:
    """Adds to `problems` and `warnings`, one sentence each. `overrides`: the stack's `engineArgs`."""
    before = len(problems)
    try:
        release = catalogue.load(recipe.engine.name, recipe.engine.catalogue_release)
    except FileNotFoundError as error:
        key = "nearestRelease" if recipe.engine.nearest_release else "version"
        problems.append(f"{path.name}: engine.{key}: {error}")
        return
    flags, nearest = recipe.engine.flags, recipe.engine.nearest_release is not None
    useless = dict(unservable(recipe, release))
    problems += [_flag_text(path, overrides, f"{flag}: {cause}", remove=flag) for flag, cause in useless.items()]
    told = [*release.problems(flags, nearest=nearest), *out_of_bounds(recipe)]
    problems += [_flag_text(path, overrides, text) for text in told if text.partition(":")[0] not in useless]
    if not recipe.engine_module.has_metrics(recipe):
        warnings.append(_flag_text(path, overrides, *_without_metrics(recipe)))
    remarks = release.remarks(flags) + (release.unverified(flags, recipe.engine.image) if nearest else [])
    warnings += [_flag_text(path, overrides, text) for text in remarks]
    model = recipe.model
    sparse = model.architecture is not None and model.architecture.index_n_heads > 0
    for finding in combinations.find_broken(
        release, flags, architecture=recipe.gpu.architecture, repository=model.repo, sparse=sparse
    ):
        mend = f"{finding.mend_flag} {finding.mend_text}"
        text = _flag_text(path, overrides, str(finding), mend)
        (problems if finding.level == "error" else warnings).append(text)
    if len(problems) == before:  # the fit needs numbers where numbers belong
        _check_fit(path, recipe, problems, warnings)


def _check_fit(path: Path, recipe: Recipe, problems: list[str], warnings: list[str]) -> None:
    """Whether weights, KV pool and working memory fit the GPUs, before one is paid for."""
    try:
        fit = fit_memory(recipe)
    except ServingError as error:
        warnings.append(f"{path.name}: memory not checked: {error}")
        return
    for found, said in ((fit.problem, problems), (fit.caution, warnings)):
        if found:
            said.append(f"{path.name}: memory: {found}; `python -m recipes.memory_fit {path.stem}` shows what is taken")


def _without_metrics(recipe: Recipe) -> tuple[str, str]:
    """What to say of a replica whose metrics are off, and the mend."""
    flag, value = recipe.engine_module.METRICS_FLAG
    given = f"is {str(recipe.engine.flags[flag]).lower()}" if flag in recipe.engine.flags else "is left out"
    cause = "no metrics tell whether requests get anywhere, so a replica that hangs is not noticed and never replaced"
    mend = f"{flag} {str(value).lower()}"
    return f"{flag}: {given}, and then {cause}; set {flag} to {str(value).lower()}", mend


def _flag_text(
    path: Path, overrides: Mapping[str, Any], text: str, mend: str | None = None, *, remove: str | None = None
) -> str:
    """Where the flag was set, what is wrong with it, and how to change it (`mend`: a flag and its value) or to
    leave it out (`remove`: the flag)."""
    flag = text.partition(":")[0]
    if remove is not None and remove in overrides:
        return f"engineArgs.{text}; `pulumi config rm --path engineArgs.{remove}`"
    command = f"`pulumi config set --path engineArgs.{mend or f'{flag} …'}`"
    if flag in overrides:
        return f"engineArgs.{text}; {command}"
    return f"{path.name}: engine.flags.{text}; edit {path.name}{f' or {command}' if mend else ''}"
