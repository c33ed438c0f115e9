"""This project's own stack: the bundled engine makes it, and it goes back and forth between both engines."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.pulumi_engine.lab import BUNDLED, real_cli
from tests.stack.project import Project

pytestmark = [pytest.mark.cli, pytest.mark.cloud]


def test_up_here_then_no_change_there_and_back(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{BUNDLED}:{path}")
    project = new_project("handed-over")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert outcome.changes == {"create": 14}
    assert project.ask().status_code == 200
    monkeypatch.setenv("PATH", f"{real_cli()}:{path}")
    assert "14 unchanged" in project.preview()
    assert project.up().changes == {"same": 14}
    monkeypatch.setenv("PATH", f"{BUNDLED}:{path}")
    assert "14 unchanged" in project.preview()
