"""What a recipe may not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = load_recipe(RECIPES / "glm-5.1-fp8-b200.yaml")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_is_valid_and_survives_the_way_into_a_container(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert Recipe.model_validate_json(recipe.model_dump_json(by_alias=True)) == recipe


@pytest.mark.parametrize("flag", ["api-key", "port", "config", "model-path", "weight-version"])
def test_flags_that_the_stack_sets_are_refused(flag: str) -> None:
    with pytest.raises(ValidationError, match="set by the stack itself"):
        RECIPE.with_engine_args({flag: "x"})


def test_the_health_deadline_leaves_time_to_report() -> None:
    document = RECIPE.to_json()
    document["deadlines"]["health"] = document["deadlines"]["startup"]
    with pytest.raises(ValidationError, match="before it can say what was wrong"):
        Recipe.model_validate(document)
