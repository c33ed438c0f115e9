"""Fixtures of the tests that run whole stacks against the local cloud, with whichever deployment engine there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.project import REPOSITORY, Project


@pytest.fixture(scope="session", autouse=True)
def deployment_engine() -> None:
    """The Pulumi CLI on PATH; where there is none, the bundled engine under its name."""
    if not shutil.which("pulumi"):
        os.environ["PATH"] = f"{REPOSITORY / 'local' / 'pulumi_engine' / 'bin'}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def new_project(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Project]]:
    """Makes projects and destroys what they have left when the module is done."""
    made: list[Project] = []

    def make(name: str, base: str = "tiny-glm-local", engine_speed: int = 50, **environ: str) -> Project:
        folder: Path = tmp_path_factory.mktemp("project") / name
        made.append(Project(folder, cloud, name, base, engine_speed, **environ))
        return made[-1]

    yield make
    for project in made:
        project.destroy()
