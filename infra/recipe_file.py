"""A stack's recipe, read and checked: what is wrong with the file or with the stack's flags over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from infra.recipe_check import check_recipe
from serving.recipe import Recipe, load_recipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def find_recipe(values: dict[str, Any], problems: list[str], warnings: list[str]) -> Recipe | None:
    """The recipe that `values` (a stack's config, raw) name, with their `engineArgs`; None where it cannot be read.
    Adds to `problems` and `warnings`, one sentence each.
    """
    name = values.get("recipe")
    if not isinstance(name, str):
        return None  # already reported as missing or of the wrong type
    # A path instead of a name lets a team keep its recipes in its own repository.
    path = (RECIPES.parent / name) if name.endswith(".yaml") else RECIPES / f"{name}.yaml"
    known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    if not _is_file(path):
        problems.append(
            f"recipe: found {name!r}, allowed are {', '.join(known)} or the path of a .yaml file; "
            f"`pulumi config set recipe {known[0]}`"
        )
        return None
    given = values.get("engineArgs")
    overrides: dict[str, Any] = given if isinstance(given, dict) else {}
    place = path.name
    try:
        recipe = load_recipe(path)
        if overrides:
            place = f"{path.name} with engineArgs"
            recipe = recipe.with_engine_args(overrides)
    except (ValueError, yaml.YAMLError, OSError, RecursionError) as error:
        problems += _recipe_problems(place, error, overrides)
        return None
    check_recipe(path, recipe, overrides, problems, warnings)
    return recipe


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or no name at all
        return False


def _recipe_problems(place: str, error: Exception, overrides: Mapping[str, Any]) -> list[str]:
    if isinstance(error, ValidationError):
        return [
            f"{place}: {key + ': ' if key else ''}{cause}; {_mend(cause, overrides)}"
            for key, cause in (_cause(detail) for detail in error.errors(include_url=False))
        ]
    return [f"{place}: {' '.join(str(error).split())}; edit the file"]


def _cause(detail: Any) -> tuple[str, str]:
    """A recipe's key, empty for what is wrong between several, and what is wrong there."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).removeprefix(".")
    known = {"missing": "is required", "extra_forbidden": "no such key; docs/recipes.md has the keys"}
    if detail["type"] in known:
        return key, known[detail["type"]]
    message = str(detail["ctx"]["error"]) if "error" in detail.get("ctx", {}) else lower(detail["msg"])
    value = detail["input"]
    if not key or isinstance(value, dict | list):
        return key, message
    if detail["type"] == "string_type" and value is not None:  # a date, a version, a word that YAML takes for a switch
        return key, f"found {value}, which YAML takes for a {type(value).__name__}, no text: put it into quotes"
    return key, f"found {value!r}, {message}"


def _mend(message: str, overrides: Mapping[str, Any]) -> str:
    """Where the stack's `engineArgs` brought the trouble, the command that takes them away."""
    words = re.findall(r"[\w-]+", message)
    named = [f"`pulumi config rm --path engineArgs.{flag}`" for flag in overrides if flag in words]
    return " and ".join(named) or "edit the file"


def lower(message: str) -> str:
    return message[:1].lower() + message[1:]
