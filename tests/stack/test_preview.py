"""`pulumi preview` of the production stack, with neither Modal nor the Hub within reach."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stack.project import REPOSITORY

pytestmark = pytest.mark.cli


@pytest.fixture
def prod(tmp_path: Path) -> Path:
    """A folder with the project and its production stack, and a state of its own."""
    for name in ("Pulumi.yaml", "Pulumi.prod.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("infra", ".venv"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "state").mkdir()
    assert pulumi(tmp_path, "stack", "init", "prod").returncode == 0
    return tmp_path


def pulumi(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    nowhere = "http://127.0.0.1:9"  # the discard port: nothing listens there
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MODAL_", "HF_", "PULUMI_"))}
    environ |= {
        "MODAL_SERVER_URL": nowhere,
        "HF_ENDPOINT": nowhere,
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    return subprocess.run(
        ["pulumi", *arguments, "--color", "never", "--non-interactive"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_whole_plan_is_shown_and_what_only_the_hub_knows_is_unknown(prod: Path) -> None:
    preview = pulumi(prod, "preview", "--stack", "prod")
    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "+ 15 to create" in preview.stdout
    assert "zai-org/GLM-5.1-FP8 on 8×B200 with sglang 0.5.10.post1" in preview.stdout
    assert "0 to 3 replicas at $50.00/h each, down after 900 s idle" in preview.stdout
    assert "this stack        $12,174" in preview.stdout
    assert "fits: of 177.6 GiB a GPU" in preview.stdout
    assert "commit   : [unknown]" in preview.stdout
    assert "apiKey   : [secret]" in preview.stdout


def test_a_pinned_commit_makes_everything_that_follows_from_it_known(prod: Path) -> None:
    recipe = (REPOSITORY / "recipes" / "glm-5.1-fp8-b200.yaml").read_text()
    pinned = prod / "pinned.yaml"
    pinned.write_text(recipe.replace("revision: main", f"revision: {'a1' * 20}"))
    assert pulumi(prod, "config", "set", "recipe", str(pinned)).returncode == 0
    preview = pulumi(prod, "preview", "--stack", "prod")
    assert f'commit   : "{"a1" * 20}"' in preview.stdout
    assert 'kernelKey: "sm100-' in preview.stdout


def test_a_wrong_stack_file_is_one_message_without_a_traceback(prod: Path) -> None:
    assert pulumi(prod, "config", "set", "--path", "scaling.maxContainers", "0").returncode == 0
    assert pulumi(prod, "config", "set", "smokeTest", "sometimes").returncode == 0
    preview = pulumi(prod, "preview", "--stack", "prod")
    assert preview.returncode != 0
    assert "Pulumi.prod.yaml has 2 problems" in preview.stdout
    assert "scaling.maxContainers: found 0" in preview.stdout
    assert "smokeTest: found 'sometimes'" in preview.stdout
    assert "Traceback" not in preview.stdout + preview.stderr


def test_a_warning_about_flags_is_logged_and_stops_nothing(prod: Path) -> None:
    assert pulumi(prod, "config", "set", "recipe", str(REPOSITORY / "recipes/glm-5.1-fp8-h200.yaml")).returncode == 0
    assert pulumi(prod, "config", "set", "--path", "engineArgs.kv-cache-dtype", "fp8_e4m3").returncode == 0
    preview = pulumi(prod, "preview", "--stack", "prod")
    assert preview.returncode == 0, preview.stdout + preview.stderr
    assert "warning: " in preview.stdout
    assert "SGLang #17526" in preview.stdout
    assert "+ 15 to create" in preview.stdout
