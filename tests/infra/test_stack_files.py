"""Every stack file that comes along can be read by whatever reads one without Pulumi, booleans and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components import modal_api, release_files
from infra import releases
from infra.acceptance.stack import Stack
from infra.stack_file import configuration_of

REPOSITORY = Path(__file__).parents[2]
STACKS = sorted(path.name.split(".")[1] for path in REPOSITORY.glob("Pulumi.*.yaml"))


@pytest.mark.parametrize("stack", STACKS)
def test_all_readers_agree(stack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_files, "read_all", lambda place: [])
    monkeypatch.setattr(modal_api, "find_app", lambda environment, name: None)
    accepted = Stack(stack, tmp_path)
    accepted.folder.mkdir(parents=True)
    accepted.file.write_text((REPOSITORY / accepted.file.name).read_text(encoding="utf-8"), encoding="utf-8")
    found: list[Any] = [
        releases.read(stack, REPOSITORY).settings,
        accepted.settings,
        configuration_of(stack, REPOSITORY),
    ]
    for each in found:
        assert each.scaling == found[0].scaling
        assert each.protect_weights == found[0].protect_weights
        assert each.recipe == found[0].recipe
