"""OpenCode's configuration: what the stack tells, and how it gets into a file that is the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.opencode import OpenCodeError, configuration, key_variable, merged, write
from serving.recipe import load_recipe

REPOSITORY = Path(__file__).parents[2]
RECIPE = load_recipe(REPOSITORY / "recipes" / "glm-5.1-fp8-b200.yaml")
WANTED = configuration("prod", "https://x--glm.modal.run", RECIPE)


def test_the_provider_is_openai_compatible_and_names_a_variable_instead_of_a_key() -> None:
    assert WANTED["$schema"] == "https://opencode.ai/config.json"
    provider = WANTED["provider"]["modal-prod"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": "https://x--glm.modal.run/v1", "apiKey": "{env:GLM_SERVING_PROD_KEY}"}
    model = provider["models"]["glm-5.1"]
    assert model["reasoning"]
    assert model["tool_call"]


def test_the_limits_are_what_the_engine_takes_with_these_flags() -> None:
    limit = WANTED["provider"]["modal-prod"]["models"]["glm-5.1"]["limit"]
    pool = int(RECIPE.engine.flags.get("max-total-tokens", RECIPE.model.context_tokens))
    assert limit["context"] == min(pool, RECIPE.model.context_tokens)
    assert 0 < limit["output"] < limit["context"]
    short = RECIPE.with_engine_args({"context-length": 8192})
    assert configuration("a", "http://a", short)["provider"]["modal-a"]["models"]["glm-5.1"]["limit"] == {
        "context": 8192,
        "output": 2048,
    }


def test_proxy_tokens_are_variables_too() -> None:
    options = configuration("dev", "https://x", RECIPE, proxy_auth=True)["provider"]["modal-dev"]["options"]
    assert options["headers"] == {"Modal-Key": "{env:MODAL_PROXY_KEY}", "Modal-Secret": "{env:MODAL_PROXY_SECRET}"}


def test_every_stack_has_a_variable_that_a_shell_can_export() -> None:
    assert key_variable("glm52-local") == "GLM_SERVING_GLM52_LOCAL_KEY"


def test_everything_else_in_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "opencode.json"
    mine = {
        "model": "anthropic/claude",
        "provider": {
            "modal-prod": {"options": {"apiKey": "in clear", "timeout": 600_000}, "models": {"other": {}}},
            "own": {"npm": "x"},
        },
        "theme": "grüße",
    }
    file.write_text(json.dumps(mine, indent="\t", ensure_ascii=False))
    file.chmod(0o600)
    assert write(file, WANTED)
    text = file.read_text()
    found = json.loads(text)
    assert list(found) == ["model", "provider", "theme", "$schema"]
    assert (found["model"], found["theme"], found["provider"]["own"]) == ("anthropic/claude", "grüße", {"npm": "x"})
    ours = found["provider"]["modal-prod"]
    assert ours["options"] == {**WANTED["provider"]["modal-prod"]["options"], "timeout": 600_000}
    assert set(ours["models"]) == {"other", "glm-5.1"}
    assert '\n\t"model"' in text
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["opencode.json"]


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "opencode.json"
    assert write(file, WANTED)
    before = file.stat()
    assert not write(file, WANTED)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.json").write_text("{}")
    link = tmp_path / "opencode.json"
    link.symlink_to("dotfiles.json")
    assert write(link, WANTED)
    assert link.is_symlink()
    assert json.loads((tmp_path / "dotfiles.json").read_text()) == WANTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n  // mine\n  "model": "a/b"\n}', "line 2 is no plain JSON"),
        ("[]", "holds a list"),
        ('{"provider": "none"}', "`provider` is 'none'"),
    ],
)
def test_a_file_that_cannot_be_merged_is_left_alone(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "opencode.json"
    file.write_text(text)
    with pytest.raises(OpenCodeError, match=reason):
        write(file, WANTED)
    assert file.read_text() == text


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "opencode.json"
    file.write_text("{}")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(file, WANTED)
    assert (os.listdir(tmp_path), file.read_text()) == (["opencode.json"], "{}")


def test_merging_never_changes_what_it_was_given() -> None:
    current: dict[str, Any] = {"provider": {"modal-prod": {"options": {}}}}
    merged(current, WANTED)
    assert current == {"provider": {"modal-prod": {"options": {}}}}


def pulumi(folder: Path, environ: dict[str, str], *arguments: str, text: str | None = None) -> None:
    subprocess.run(["pulumi", *arguments], cwd=folder, env=environ, input=text, text=True, check=True)


@pytest.mark.cli
def test_the_command_takes_the_output_of_the_stack(tmp_path: Path) -> None:
    """With the real Pulumi and a state that has the outputs: they get into the file, the key does not."""
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
    environ = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PYTHONPATH": str(REPOSITORY),
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.opencode", *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )

    pulumi(tmp_path, environ, "stack", "init", "prod")
    none = command("prod")
    assert none.returncode == 1
    assert "stack prod has no output `opencode` yet; make up STACK=prod" in none.stderr
    key = "sk-very-secret"
    stack: dict[str, Any] = {
        "urn": "urn:pulumi:prod::p::pulumi:pulumi:Stack::p-prod",
        "custom": False,
        "type": "pulumi:pulumi:Stack",
        "outputs": {"apiKey": key, "opencode": WANTED},
    }
    pulumi(
        tmp_path,
        environ,
        "stack",
        "import",
        text=json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": [stack]}}),
    )
    done = command("prod", "mine.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "mine.json").read_text()) == WANTED
    assert 'export GLM_SERVING_PROD_KEY="$(pulumi stack output apiKey --stack prod --show-secrets)"' in done.stdout
    assert "opencode run --model modal-prod/glm-5.1" in done.stdout
    assert "has modal-prod/glm-5.1 already" in command("prod", "mine.json").stdout
    assert key not in done.stdout + done.stderr + (tmp_path / "mine.json").read_text()
    missing = command("staging")
    assert missing.returncode == 1
    assert "the outputs of stack staging cannot be read" in missing.stderr
    assert "Traceback" not in none.stderr + missing.stderr
