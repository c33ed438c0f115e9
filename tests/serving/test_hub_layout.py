"""Weights in the layout of the Hub client's own cache, for engines that are given a repository's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from serving.manifest import SENTINEL
from serving.recipe import Recipe
from serving.verify import verify
from tests.serving.conftest import MICRO, RecipeMaker, RunningHub
from tests.serving.test_download import run


@pytest.fixture
def hub_layout(make_recipe: RecipeMaker) -> Recipe:
    return make_recipe(
        {
            "model": {"repo": MICRO},
            "kernels": None,
            "engine": {"name": "vllm", "flags": {"tensor-parallel-size": 8}},
            "download": {"retryDelays": [0.01], "workers": 2, "layout": "hub"},
        }
    )


def cached(recipe: Recipe, revision: str) -> Path:
    """What the Hub client finds without asking anybody."""
    cache = Path(recipe.volumes.weights.mount_path) / "hub"
    return Path(snapshot_download(MICRO, revision=revision, cache_dir=cache, local_files_only=True))


def test_the_hub_client_finds_the_download_offline_by_branch_and_by_commit(hub_layout: Recipe, hub: RunningHub) -> None:
    result, _ = run(hub_layout, hub)
    commit = result["commit"]
    assert result["folder"] == f"hub/models--{MICRO.replace('/', '--')}/snapshots/{commit}"
    assert cached(hub_layout, "main") == cached(hub_layout, commit) == Path(hub_layout.model_path(commit))
    assert (cached(hub_layout, "main") / SENTINEL).is_file()
    assert verify(hub_layout, commit, "")["kernel_files"] == 0


def test_a_cache_that_the_hub_client_has_filled_is_checked_and_not_fetched_again(
    hub_layout: Recipe, hub: RunningHub
) -> None:
    cache = Path(hub_layout.volumes.weights.mount_path) / "hub"
    found = Path(snapshot_download(MICRO, cache_dir=cache, token=hub.token, endpoint=hub.url))
    assert any(path.is_symlink() for path in found.iterdir())
    before = hub.sent()
    result, _ = run(hub_layout, hub)
    assert Path(hub_layout.model_path(result["commit"])) == found
    # The index alone comes anew: it is the mark of completeness, and written last.
    assert {path for path, sent in hub.sent().items() if sent != before.get(path)} == {SENTINEL}
    assert result["fetched_bytes"] == (found / SENTINEL).stat().st_size


def test_a_branch_that_moved_on_is_named_anew(hub_layout: Recipe, hub: RunningHub) -> None:
    result, _ = run(hub_layout, hub)
    name = Path(hub_layout.volumes.weights.mount_path) / hub_layout.hub_folder / "refs" / "main"
    name.write_text("0" * 40)
    again, _ = run(hub_layout, hub)
    assert again["skipped"]
    assert name.read_text() == result["commit"]
