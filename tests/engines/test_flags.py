"""The flag catalogue is what the real release says, and lint finds every problem at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recipes.flags.catalogue import FOLDER, Catalogue, load
from serving.recipe import load_recipe

VERSION = "0.5.10.post1"
RECIPES = sorted(FOLDER.parent.glob("*.yaml"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load("sglang", VERSION)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("sglang-*.json")), ids=lambda path: path.stem)
def test_catalogue_is_regenerated_from_the_real_wheel(path: Path, tmp_path: Path) -> None:
    version = path.stem.removeprefix("sglang-")
    download = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "10"),
        *("--disable-pip-version-check", "--dest", str(tmp_path), "--only-binary=:all:"),
        # Newer releases have a wheel for each Python; the images run on Linux, whatever this machine does.
        *("--python-version", "3.11", "--platform", "manylinux_2_34_x86_64", f"sglang=={version}"),
    ]
    try:
        finished = subprocess.run(download, check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip(f"THE CATALOGUE WAS NOT COMPARED: no answer while downloading sglang {version}")
    if finished.returncode:
        pytest.skip(f"THE CATALOGUE WAS NOT COMPARED: cannot download sglang {version}: {finished.stderr[-200:]}")
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh.json"
    command = [sys.executable, "-m", "recipes.flags.extract", "sglang", version, str(wheel), "--output", str(fresh)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert fresh.read_text() == path.read_text()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_have_no_problem(path: Path) -> None:
    engine = load_recipe(path).engine
    assert load(engine.name, engine.catalogue_release).lint(engine.flags) == []


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"mem-fraction-statik": 0.8}, "did you mean mem-fraction-static"),
        ({"max-running-requests": "many"}, "max-running-requests: needs a whole number, got 'many'"),
        ({"mem-fraction-static": True}, "mem-fraction-static: needs a number, got true"),
        ({"attention-backend": "nsaa"}, "did you mean nsa?"),
        ({"enable-metrics": "yes"}, "enable-metrics: is a switch"),
        ({"tp": 8, "tensor-parallel-size": 8}, "sets the same option as tp"),
        ({"stream-output": True}, "deprecated in sglang 0.5.10.post1; use incremental-streaming-output"),
        ({"max-": 1}, "unknown to sglang 0.5.10.post1; did you mean"),  # fits many names, so the engine refuses it
        ({"context-length": "8 kB"}, "suffixes k, M, Ki, Mi allowed"),
        ({"json-model-override-args": False}, "needs a value, got false"),
        ({"dsa-decode-backend": "trtllm"}, "did you mean nsa-decode-backend"),  # the name from 0.5.14 on
    ],
)
def test_lint_names_the_flag_and_the_way_out(catalogue: Catalogue, flags: dict[str, object], problem: str) -> None:
    problems = catalogue.lint(flags)
    assert len(problems) == 1
    assert problem in problems[0]


def test_lint_reports_everything_at_once(catalogue: Catalogue) -> None:
    assert len(catalogue.lint({"nope": 1, "tp": "x", "dtype": "bf8"})) == 3


def test_switches_may_be_false_and_numbers_text(catalogue: Catalogue) -> None:
    assert catalogue.lint({"enable-metrics": False, "tp": "8", "context-length": "8Ki"}) == []


def test_a_release_without_catalogue_says_which_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"sglang 9\.9.*there is sglang-0\.5\.10\.post1"):
        load("sglang", "9.9")
