"""What the bundled engine refuses, in one line, and the files it shares with the CLI."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from local.__main__ import main
from local.pulumi_engine import Problem
from local.pulumi_engine.values import Crypter

REPOSITORY = Path(__file__).parents[2]
CLOUD = "http://127.0.0.1:9"
"""Loopback, and nobody listens there."""
PROJECT = "name: p\nruntime: {name: python, options: {virtualenv: .venv}}\nmain: .\n"


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{folder / 'state'}")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "pass")
    monkeypatch.setenv("MODAL_SERVER_URL", CLOUD)
    monkeypatch.setenv("LOCAL_DIR", str(folder / "cloud"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the stacks test-local and prod, each of which takes a second to encrypt for."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "Pulumi.yaml").write_text(PROJECT)
    (folder / "state").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(folder, monkeypatch)
        for stack in ("test-local", "prod"):
            assert main(["pulumi", "stack", "init", stack]) == 0
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.parametrize(
    ("stack", "address", "verb", "reason"),
    [
        ("prod", CLOUD, ["up", "--yes", "--skip-preview"], "its name is neither"),
        ("prod", CLOUD, ["refresh", "--preview-only"], "its name is neither"),
        ("prod", "", ["preview"], "its name is neither"),
        ("test-local", "", ["up", "--yes"], "MODAL_SERVER_URL (not set) is not the one that runs"),
        ("test-local", "", ["refresh", "--preview-only"], "MODAL_SERVER_URL (not set)"),
        ("test-local", "https://api.modal.com", ["destroy", "--yes"], "(https://api.modal.com) is not the one"),
        ("test-local", CLOUD, ["up", "--yes"], f"MODAL_SERVER_URL ({CLOUD}) is not the one that runs in"),
        ("test-local", "http://127.0.0.1:{listener}", ["preview"], "is not the one that runs in"),
    ],
)
def test_a_stack_that_may_be_real_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stack: str,
    address: str,
    verb: list[str],
    reason: str,
) -> None:
    """An address on this machine is not enough: it could be a tunnel to anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("MODAL_SERVER_URL", address.format(listener=listener.getsockname()[1]))
        capsys.readouterr()
        assert main(["pulumi", *verb, "--stack", stack]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: the bundled engine serves the local cloud only, and ")
    assert reason in said.err
    assert said.err.count("\n") == 1


def test_the_address_of_a_local_cloud_that_has_ended_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program may listen on its port by now."""
    cloud = folder / "cloud"
    cloud.mkdir()
    facts = {"port": 9, "http_port": 10, "hub_port": 11, "token_id": "ak-", "token_secret": "as-"}
    (cloud / "installation.json").write_text(json.dumps(facts))
    (cloud / "daemon.json").write_text(json.dumps({"pid": os.getpid()}))  # which has other arguments
    assert main(["pulumi", "up", "--yes", "--stack", "test-local"]) == 1
    assert f"MODAL_SERVER_URL ({CLOUD}) is not the one that runs in {cloud}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["up", "preview", "down"])
def test_make_refuses_a_real_stack_without_the_real_cli(tmp_path: Path, verb: str) -> None:
    """The machine is one where no CLI is and none can be downloaded."""
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text("#!/bin/sh\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n")
    curl.chmod(0o755)
    path = [place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "pulumi").exists()]
    done = subprocess.run(
        ["make", "--no-print-directory", verb, "STACK=prod"],
        cwd=REPOSITORY,
        env={"PATH": os.pathsep.join([str(curl.parent), *path]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: stack prod needs the real Pulumi CLI; install it (https://www.pulumi.com/docs/install/), then"
        f" make {verb} STACK=prod"
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--policy-pack", "pack"], "does not do this (unrecognized arguments: --policy-pack pack)"),
        (["import"], "does not do this"),
        (["up", "--stack", "none-local", "--yes"], "no stack named 'none-local' found; pulumi stack init none-local"),
        (["config", "get", "size", "--stack", "prod"], "does not do this (argument"),
        (["up", "--stack", "test-local"], "MODAL_SERVER_URL"),
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
        Crypter(salt).encrypt("ü")


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
