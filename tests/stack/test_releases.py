"""One stack through two deploys and a third that answers badly, and back to the first: each test goes on from there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.stack.project import STACK, Project

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    """On vLLM: it compiles nothing ahead, and shares its volume with the Hub's cache."""
    return new_project("released", "tiny-glm52-local")


def releases(project: Project, *arguments: str, code: int = 0) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", "infra.releases", STACK, *arguments],
        cwd=project.folder,
        env={**project.environ, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stderr if code else finished.stdout


def test_each_deploy_is_on_record(project: Project) -> None:
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert "quality: 3 of 3 answers right, mean log-probability -0." in outcome.text
    assert "version 1 is on record in volume released-weights, releases/released/" in outcome.text
    project.configure("engineArgs.max-num-seqs", "16")
    project.configure("scaling.maxContainers", "3")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert "log-probabilities 0.000 lower on average than release" in outcome.text
    record = json.loads(releases(project, "show", "2"))
    assert record["scaling"] == {"bufferContainers": 0, "maxContainers": 3, "minContainers": 0, "scaledownWindow": 300}
    assert record["model"]["commit"] == project.outputs()["commit"]
    assert record["quality"]["compared"] == sum(len(answer["tokens"]) for answer in record["quality"]["answers"])
    assert record["weights"]["folder"].startswith("hub/models--glm-serving--tiny-glm/snapshots/")


def test_a_version_with_another_distribution_is_rolled_back(project: Project) -> None:
    """Its three answers are right: only their log-probabilities tell that its weights are badly loaded."""
    before = project.outputs()["version"]
    project.use_recipe(STANDIN_FAULT="wrong-scales")
    outcome = project.up()
    assert outcome.failed
    assert "quality: the log-probabilities of its answers are 0." in outcome.text
    assert f"(version {before}) had them" in outcome.text
    assert "quality.maxMeanDrop allows 0.1" in outcome.text
    assert "and was rolled back: version 2 serves (as version 4)" in outcome.text
    assert "Traceback" not in outcome.text
    assert "4" in project.ask().json()["choices"][0]["message"]["content"]


def test_the_list_tells_all_and_which_one_serves(project: Project) -> None:
    printed = releases(project, "list")
    header, first, second, failed, reason, serves = printed.splitlines()
    assert header.split()[:2] == ["VERSION", "RELEASE"]
    assert first.split()[0] == "1"
    assert second.split()[:2] == ["→", "2"]
    assert "3/3 +0.000" in second
    assert failed.split()[0] == "3"
    assert " failed " in failed
    assert " 3/3 -0.4" in failed or " 3/3 -0.5" in failed
    assert "3 failed: quality: the log-probabilities" in reason
    assert serves == "  version 2 serves, as version 4"


def test_a_comparison_shows_what_differs_and_nothing_else(project: Project) -> None:
    rows = [line.split("  ") for line in releases(project, "compare", "1", "2").splitlines()[1:]]
    changed = {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    assert changed["flags.max-num-seqs"] == ["32", "16"]
    assert changed["scaling.maxContainers"] == ["2", "3"]
    measured = {name for name in changed if name.startswith(("quality.", "smokeTest."))}
    assert set(changed) - measured == {"flags.max-num-seqs", "scaling.maxContainers", "release", "version"}


def test_a_failed_version_is_not_restored(project: Project) -> None:
    assert "version 3 has failed its smoke test: quality:" in releases(project, "restore", "3", code=1)


def test_restored_it_serves_with_its_own_scaling_until_the_next_up(project: Project) -> None:
    printed = releases(project, "restore", "1")
    assert "released: version 1 serves again (as version 5) and answers" in printed
    assert "maxContainers 2" in printed
    assert re.search(rf"to keep it: .+ pulumi up --refresh --stack {STACK}", printed)
    live = "import modal; print(modal.Cls.from_name('released', 'Server')().serve.autoscaler.settings().max_containers)"
    assert project.python(live) == "2"
    assert releases(project, "list").splitlines()[4].split()[:2] == ["→", "5"]
    refreshed = project.refresh()
    assert "version 5 is live, deployed or rolled back to by hand; this stack deployed version 3" in refreshed.text
