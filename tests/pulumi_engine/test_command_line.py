"""What the bundled engine refuses, in one line, and the files it shares with the CLI."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.__main__ import main
from local.pulumi_engine import Problem
from local.pulumi_engine.secrets import Crypter

CLOUD = "http://127.0.0.1:9"
PROJECT = "name: p\nruntime: {name: python, options: {virtualenv: .venv}}\nconfig:\n  size: {type: integer}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stacks test-local and prod, and the working directory."""
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    (tmp_path / "state").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'state'}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "pass")
    monkeypatch.setenv("MODAL_SERVER_URL", CLOUD)
    for stack in ("test-local", "prod"):
        assert main(["pulumi", "stack", "init", stack]) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("stack", "address", "verb"),
    [
        ("prod", CLOUD, ["up", "--yes", "--skip-preview"]),
        ("prod", CLOUD, ["refresh", "--preview-only"]),
        ("prod", "", ["preview"]),
        ("test-local", "", ["up", "--yes"]),
        ("test-local", "", ["refresh", "--preview-only"]),
        ("test-local", "https://api.modal.com", ["destroy", "--yes"]),
        ("test-local", "https://127.0.0.1.example.com", ["preview"]),
    ],
)
def test_a_stack_that_may_be_real_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stack: str,
    address: str,
    verb: list[str],
) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", address)
    capsys.readouterr()
    assert main(["pulumi", *verb, "--stack", stack]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: the bundled engine serves the local cloud only, and stack {stack} may be real")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--policy-pack", "pack"], "does not do this (unrecognized arguments: --policy-pack pack)"),
        (["import"], "does not do this"),
        (["up", "--stack", "none-local", "--yes"], "no stack named 'none-local' found; pulumi stack init none-local"),
        (["preview", "--stack", "test-local"], "missing configuration value 'size'; pulumi config set size <value>"),
        (["config", "get", "size", "--stack", "prod"], "configuration key 'size' not found for stack 'prod'"),
    ],
)
def test_one_line_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["pulumi", *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_secrets_are_the_clis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Salt and ciphertext were written by the CLI."""
    salt = "v1:QzIspw4M9iw=:v1:5erNycPgyhMPkWg0:IE4BYPBwQXN3wkzJ77eI9Z1NOHoJfQ=="
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "pp")
    cipher = Crypter(salt)
    assert cipher.decrypt("v1:Csoa8sTWUzhiY5u+:eB/IHxVLRSiq0SE6Ou+JNVlB4Z/vEQ==") == "sesame"
    assert cipher.decrypt(cipher.encrypt("ü")) == "ü"
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "other")
    with pytest.raises(Problem, match="incorrect passphrase"):
        Crypter(salt)


def test_the_stacks_file_keeps_its_head_and_never_loses_a_comment(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "Pulumi.test-local.yaml"
    file.write_text("# What this is.\n" + file.read_text())
    for path, value in (("a.b", "5"), ("a.c[0].d", "true"), ("size", "7")):
        assert main(["pulumi", "config", "set", "--path", path, value, "--stack", "test-local"]) == 0
    text = file.read_text()
    assert text.startswith("# What this is.\n")
    assert "p:a:\n    b: 5\n    c:\n    - d: true\n  p:size: '7'\n" in text
    file.write_text(text.replace("    b: 5\n", "    b: 5  # five\n"))
    assert main(["pulumi", "config", "set", "size", "8", "--stack", "test-local"]) == 1
    assert "has comments that a rewrite would lose; edit it by hand" in capsys.readouterr().err
    assert "# five" in file.read_text()
