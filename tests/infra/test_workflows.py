""".github/workflows/: what they call exists, and a secret reaches a command as an environment variable only."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def jobs(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def commands(path: Path) -> list[str]:
    return [step["run"] for job in jobs(path).values() for step in job.get("steps", []) if "run" in step]


def test_there_is_one_for_tests_review_up_and_drift() -> None:
    assert {path.stem for path in WORKFLOWS} == {"tests", "review", "deploy", "up", "drift"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_it_calls_exists(path: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for command in commands(path):
        assert set(re.findall(r"\bmake (?:-s )?(\w+)", command)) <= targets
        for module in re.findall(r"python -m ([\w.]+)", command):
            assert importlib.util.find_spec(module)
        for place in re.findall(r"(?:infra|bootstrap)/[\w./]+", command):
            assert (REPOSITORY / place).exists()
    for job in jobs(path).values():
        stacks = job.get("strategy", {}).get("matrix", {}).get("stack", [])
        stacks += [job["with"]["stack"]] if "with" in job else []
        assert all((REPOSITORY / f"Pulumi.{stack}.yaml").is_file() for stack in stacks)
        if job.get("uses", "").startswith("./"):
            assert (REPOSITORY / job["uses"]).is_file()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_nothing_of_github_is_written_into_a_command(path: Path) -> None:
    """An expression in a command is text to the shell: secrets would show, and titles could run."""
    assert all("${{" not in command for command in commands(path))


def test_two_ups_of_a_stack_never_run_at_once_and_none_is_cut_off() -> None:
    (job,) = jobs(REPOSITORY / ".github/workflows/up.yml").values()
    assert job["concurrency"] == {"group": "up-${{ inputs.stack }}", "cancel-in-progress": False}
    assert job["environment"] == "${{ inputs.stack }}"


def test_the_drift_check_changes_nothing() -> None:
    (command,) = commands(REPOSITORY / ".github/workflows/drift.yml")
    assert "pulumi refresh --stack" in command
    assert "--preview-only --expect-no-changes" in command
