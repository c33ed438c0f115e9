"""Fixtures of the tests that run whole stacks with the real Pulumi CLI against the local cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.project import Project


@pytest.fixture(scope="session", autouse=True)
def pulumi_cli() -> None:
    if shutil.which("pulumi"):
        return
    reason = "NOT TESTED: no Pulumi CLI on PATH; `make test` looks for one, https://www.pulumi.com/docs/install/"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def new_project(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Project]]:
    """Makes projects and destroys what they have left when the module is done."""
    made: list[Project] = []

    def make(name: str, base: str = "tiny-glm-local", **environ: str) -> Project:
        folder: Path = tmp_path_factory.mktemp("project") / name
        made.append(Project(folder, cloud, name, base, **environ))
        return made[-1]

    yield make
    for project in made:
        project.destroy()
