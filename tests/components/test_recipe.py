"""What a recipe may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.recipe import Recipe, kernel_key, load_recipe

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


def test_what_no_replica_reads_is_no_part_of_what_is_deployed() -> None:
    """An edit of a price, a question or a job's settings must not cost a cold start; one of a flag must be deployed."""
    recipe = load_recipe(RECIPES / "glm-5.1-fp8-b200.yaml")

    def edited(section: str, **changes: Any) -> Recipe:
        document = recipe.to_json()
        document[section] = changes["whole"] if "whole" in changes else {**document[section], **changes}
        return Recipe.model_validate(document)

    served = recipe.as_served()
    assert Recipe.model_validate_json(served.model_dump_json(by_alias=True)) == served, "a container can read it"
    for other in (
        edited("prices", gpuSecond=0.5, asOf="2030-01-01"),
        edited("download", retryDelays=[1.0], cpu=8),
        edited("kernels", estimatedMinutes=7),
        edited("deadlines", scheduling=60),
        edited("smokeTest", whole=[{"prompt": "And 3+3?", "expect": "6"}]),
        edited("model", revision="c" * 40),
        edited("model", sizeGb=757),
        edited("model", architecture=None, kvBytesPerToken=100_000),
        edited("gpu", memoryGb=192),
        edited("engine", nearestRelease="0.5.16"),
        edited("name", whole="glm-5.1-pinned"),
    ):
        assert other.as_served() == served
    assert edited("engine", flags={**recipe.engine.flags, "mem-fraction-static": 0.8}).as_served() != served
    assert edited("deadlines", hang=60).as_served() != served
    assert edited("gpu", type="B300").as_served() != served
    assert edited("model", contextTokens=131072).as_served() != served, "how long the warm-up's prompts may be"
    assert edited("engine", pipPackages=["x"]).as_served() != served
    assert kernel_key(served, "c" * 40) == kernel_key(recipe, "c" * 40)
