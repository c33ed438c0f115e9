"""Steps by hand find the weights wherever the recipe's layout puts them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from components import modal_api
from serving.apps.by_hand import RECIPE_VARIABLE, downloaded_commit, server_params
from serving.errors import ServingError
from serving.manifest import MANIFEST
from serving.recipe import Recipe, load_recipe
from tests.serving.conftest import REPO_ROOT, RecipeMaker

OLD, NEW = "1" * 40, "2" * 40
LAYOUTS = {"folder": "tiny-glm-local", "hub": "tiny-glm52-local"}


def test_the_layouts_are_those_of_the_recipes() -> None:
    for layout, name in LAYOUTS.items():
        assert load_recipe(REPO_ROOT / "recipes" / f"{name}.yaml").download.layout == layout


def mark(recipe: Recipe, commit: str, at: float) -> None:
    """What a finished download leaves, and one that was cut off: its folder without a manifest."""
    folder = Path(recipe.model_path(commit))
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    os.utime(folder / MANIFEST, (at, at))
    Path(recipe.model_path("3" * 40)).mkdir(exist_ok=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_job_takes_the_newest_complete_commit_of_its_volume(make_recipe: RecipeMaker, layout: str) -> None:
    recipe = make_recipe({"download": {"layout": layout}})
    with pytest.raises(ServingError, match=r"has no complete download of .*Next: modal run"):
        downloaded_commit(recipe)
    mark(recipe, NEW, at=2_000_000)
    mark(recipe, OLD, at=1_000_000)
    assert downloaded_commit(recipe) == NEW
    assert downloaded_commit(make_recipe({"model": {"revision": OLD}, "download": {"layout": layout}})) == OLD


@pytest.fixture
def served_by_hand(cloud: object, layout: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """The recipe that serves by hand, with one complete commit on its volume."""
    recipe = load_recipe(REPO_ROOT / "recipes" / f"{LAYOUTS[layout]}.yaml")
    volume = recipe.volumes.weights.name
    modal_api.ensure_volume("main", volume, 2)
    with tempfile.NamedTemporaryFile() as manifest, modal.Volume.from_name(volume).batch_upload() as upload:
        upload.put_file(manifest.name, f"/{recipe.weights_folder(NEW)}/{MANIFEST}")
    monkeypatch.setenv(RECIPE_VARIABLE, LAYOUTS[layout])
    yield recipe
    modal_api.delete_volume("main", volume)


@pytest.mark.cloud
@pytest.mark.parametrize("layout", LAYOUTS)
def test_serving_takes_what_the_listing_of_the_volume_says(served_by_hand: Recipe) -> None:
    assert server_params().commit == NEW


@pytest.mark.cloud
@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_weights_the_next_command_is_named(cloud: object, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECIPE_VARIABLE, LAYOUTS[layout])
    with pytest.raises(ServingError, match=r"has no .*Next: modal run -m serving\.apps\.pipeline::download_model"):
        server_params()
