"""Weights that a script has put on the volume before: taken over, whatever is right of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.checkpoint import Ledger, RemoteFile
from serving.download import download_weights
from serving.earlier_download import take_over
from serving.manifest import MANIFEST
from serving.recipe import Recipe
from tests.serving.conftest import MICRO, RecipeMaker, RunningHub


@pytest.fixture
def recipe(make_recipe: RecipeMaker) -> Recipe:
    return make_recipe({"model": {"repo": MICRO}, "download": {"retryDelays": [0.01], "workers": 2}})


def download(recipe: Recipe, hub: RunningHub) -> tuple[Path, list[str]]:
    lines: list[str] = []
    done = download_weights(recipe, "main", token=hub.token, commit_volume=lambda: None, report=lines.append)
    return Path(recipe.volumes.weights.mount_path) / done["folder"], lines


def test_only_what_is_wrong_is_fetched_and_the_scripts_files_stay(recipe: Recipe, hub: RunningHub) -> None:
    folder, _ = download(recipe, hub)
    flat = folder.parent
    for path in folder.iterdir():
        if path.name != MANIFEST:
            shutil.move(path, flat / path.name)
    shutil.rmtree(folder)
    shards = sorted(flat.glob("*.safetensors"))
    altered = shards[1]
    altered.write_bytes(bytes(altered.stat().st_size))
    hub.control("DELETE", "requests")
    again, lines = download(recipe, hub)
    assert again == folder
    assert {name for name in hub.sent() if name.endswith(".safetensors")} == {altered.name}
    assert any(line.startswith("weights: checking 14 files") for line in lines), lines
    assert any("13 of 14 files taken over from micro-glm/, they stay there, too" in line for line in lines), lines
    assert all(shard.is_file() for shard in shards)
    assert altered.read_bytes() != (folder / altered.name).read_bytes()
    assert shards[0].samefile(folder / shards[0].name)


def test_without_hard_links_files_are_moved(tmp_path: Path) -> None:
    earlier, folder = tmp_path / "glm", tmp_path / "glm" / ("c" * 40)
    folder.mkdir(parents=True)
    (earlier / "a.bin").write_bytes(b"1234")
    (earlier / "other.bin").write_bytes(b"12345")

    def refuse(_there: Path, _here: Path) -> None:
        raise OSError("Operation not supported")

    lines: list[str] = []
    files = [RemoteFile("a.bin", 4, None, None), RemoteFile("other.bin", 4, None, None)]
    assert take_over(earlier, folder, files, Ledger(folder), report=lines.append, link=refuse) == 1
    assert (folder / "a.bin").read_bytes() == b"1234"
    assert not (earlier / "a.bin").exists()
    assert (earlier / "other.bin").exists()
    assert lines[-1].endswith("1 of 1 files taken over from glm/, 1 of them moved")
    assert Ledger(folder).sha256(files[0])
