"""The README's picture is what `make graph STACK=prod` draws of production from nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infra.graph.__main__ import main
from tests.stack.project import REPOSITORY

pytestmark = pytest.mark.cli

PICTURE = REPOSITORY / "docs" / "pictures" / "prod.svg"


def test_the_committed_picture_is_the_one_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`GLM_SERVING_WRITE_GOLDEN=1` writes it anew: look at it before you commit."""
    for name in ("infra", ".venv"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for name in ("Pulumi.yaml", "Pulumi.prod.yaml"):
        (tmp_path / name).write_text((REPOSITORY / name).read_text())
    (tmp_path / "state").mkdir()
    for name in [name for name in os.environ if name.startswith(("MODAL_", "HF_", "GLM_SERVING_API"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'state'}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "test")
    monkeypatch.setenv("PULUMI_SKIP_UPDATE_CHECK", "true")
    monkeypatch.chdir(tmp_path)
    subprocess.run(["pulumi", "stack", "init", "prod"], check=True, capture_output=True)
    drawn = tmp_path / "prod.svg"
    assert main(["prod", "--out", str(drawn)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"{drawn}: 13 resources, 13 create\n"
    if os.environ.get("GLM_SERVING_WRITE_GOLDEN"):
        PICTURE.write_text(drawn.read_text())
    assert drawn.read_text() == PICTURE.read_text()
