"""The kernel key changes with everything that a kernel depends on, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.recipe import Recipe, kernel_key, load_recipe

RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "glm-5.1-fp8-b200.yaml")
COMMIT = "c" * 40


def edited(section: str, **changes: object) -> Recipe:
    document = RECIPE.to_json()
    return Recipe.model_validate({**document, section: {**document[section], **changes}})


@pytest.mark.parametrize(
    "other",
    [
        edited("engine", version="0.5.16"),
        edited("engine", image="lmsysorg/sglang:v0.5.10.post1-cu130"),
        edited("engine", pipPackages=["flashinfer-python==0.6.8"]),
        edited("engine", setupCommands=["RUN true"]),
        edited("gpu", type="H200", architecture="sm90"),
        edited("engine", environment={"SGLANG_ENABLE_SPEC_V2": "0"}),
        RECIPE.with_engine_args({"kv-cache-dtype": "fp8_e4m3"}),
        RECIPE.with_engine_args({"max-running-requests": 64}),
        RECIPE.with_engine_args({"context-length": 131072}),  # the width of a table, compiled into Triton kernels
        RECIPE.with_engine_args({"a-flag-nobody-knows": "x"}),
    ],
)
def test_another_artifact(other: Recipe) -> None:
    assert kernel_key(other, COMMIT) != kernel_key(RECIPE, COMMIT)


@pytest.mark.parametrize(
    "same",
    [
        RECIPE.with_engine_args({"watchdog-timeout": 60}),
        RECIPE.with_engine_args({"max-total-tokens": 131072}),
        edited("deadlines", startup=1200),
        edited("model", servedName="glm"),
        edited("engine", environment={**RECIPE.engine.environment, "LOG_LEVEL": "debug"}),
    ],
)
def test_the_same_artifact(same: Recipe) -> None:
    assert kernel_key(same, COMMIT) == kernel_key(RECIPE, COMMIT)


def test_what_an_image_gets_can_not_change_places() -> None:
    line = "RUN pip install x"
    setup, packages = edited("engine", setupCommands=[line]), edited("engine", pipPackages=[line])
    assert kernel_key(setup, COMMIT) != kernel_key(packages, COMMIT)


def test_artifacts_compiled_before_images_could_be_mended_keep_their_key() -> None:
    image = "lmsysorg/sglang:v0.5.10.post1"
    plain = edited("engine", version="0.5.10.post1", image=image, flags={"tp": 8}, environment={})
    assert kernel_key(plain, COMMIT) == "sm100-fe6e4af519f2d55b"


@given(st.text("0123456789abcdef", min_size=40, max_size=40))
def test_no_two_commits_share_kernels(commit: str) -> None:
    key = kernel_key(RECIPE, commit)
    assert key.startswith("sm100-")
    assert (key == kernel_key(RECIPE, COMMIT)) == (commit == COMMIT)
