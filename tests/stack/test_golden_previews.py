"""The reviews that people approve, word for word: production and development from nothing, and changes of a stack that
serves.

The changes are those of a stack with GLM-5.1's recipe, flags, sizes and prices, deployed for real on the local cloud;
only the weights are the small model's. `GLM_SERVING_WRITE_GOLDEN=1` writes the files anew: read them before you commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.modal_rates import Rates, ask_modal
from infra.review.__main__ import main
from tests.stack.project import REPOSITORY, STACK, Project

pytestmark = pytest.mark.cloud

GOLDEN = Path(__file__).parent / "golden"
WITHOUT = ("--no-policies", "this test is about the change")


@dataclass(frozen=True)
class Printed:
    status: int
    out: str
    err: str


Review = Callable[..., Printed]


@pytest.fixture
def review(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Review:
    """`python -m infra.review` in a folder, in this process."""

    def run(folder: Path, environ: dict[str, str], stack: str, *options: str) -> Printed:
        monkeypatch.chdir(folder)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main([stack, "--no-rates", *options])
        return Printed(status, *capsys.readouterr())

    return run


def compare(name: str, done: Printed, *, status: int = 0) -> None:
    text = done.out
    assert done.status == status, text + done.err
    assert "Traceback" not in text + done.err
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GLM_SERVING_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.cli
@pytest.mark.parametrize(("stack", "status"), [("prod", 1), ("dev", 0)])
def test_from_nothing(stack: str, status: int, tmp_path: Path, review: Review) -> None:
    """`prod` is stopped: its revision is a branch."""
    for name in ("Pulumi.yaml", f"Pulumi.{stack}.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("infra", ".venv"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "state").mkdir()
    environ = {"PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}", "PULUMI_CONFIG_PASSPHRASE": "test"}
    environ |= {"MODAL_SERVER_URL": "http://127.0.0.1:9", "HF_TOKEN": ""}
    created = subprocess.run(
        ["pulumi", "stack", "init", stack],
        cwd=tmp_path,
        env={**os.environ, **environ},
        capture_output=True,
        check=False,
    )
    assert created.returncode == 0, created.stderr
    compare(stack, review(tmp_path, environ, stack), status=status)


def glm(folder: Path, recipe: str, **sections: dict[str, Any]) -> Path:
    """A recipe of GLM-5.1 with the small model's weights and the names of the stack `glm`, in the stack's folder."""
    document = yaml.safe_load((REPOSITORY / "recipes" / f"{recipe}.yaml").read_text())
    small = yaml.safe_load((REPOSITORY / "recipes" / "tiny-glm-local.yaml").read_text())
    names = yaml.safe_load((folder / "glm.yaml").read_text())
    for key in ("app", "volumes", "secrets"):
        document[key] = names[key]
    document["model"]["repo"] = small["model"]["repo"]
    document["download"] |= {"memoryMib": 1024, "cpu": 1}
    document.pop("quality", None)  # random weights answer no better than they can
    document["engine"]["environment"]["STANDIN_SPEED"] = "100"
    for section, values in sections.items():
        document[section].update(values)
    path = folder / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def api_key(serving: Project) -> str:
    return str(serving.outputs()["apiKey"])


@pytest.fixture(scope="module")
def serving(new_project: Callable[..., Project]) -> Project:
    project = new_project("glm")
    project.configure("recipe", str(glm(project.folder, "glm-5.1-fp8-b200")))
    project.configure("scaling.maxContainers", "3")
    project.configure("scaling.scaledownWindow", "900")
    done = project.up()
    assert not done.failed, done.text
    return project


def test_modal_is_asked_for_its_prices(serving: Project) -> None:
    rates = ask_modal(seconds=120)
    assert isinstance(rates, Rates), rates
    assert 8 * rates.gpu["B200"] == pytest.approx(50, rel=0.001)


def _more_replicas(project: Project) -> None:
    """More than the policies allow, and warm for ever, which they do not either."""
    project.configure("scaling.maxContainers", "5")
    project.configure("scaling.minContainers", "1")


def _new_revision(project: Project) -> None:
    glm(project.folder, "glm-5.1-fp8-b200", model={"revision": "a1" * 20})


def _new_engine(project: Project) -> None:
    glm(project.folder, "glm-5.1-fp8-b200", engine={"version": "0.5.16", "image": "lmsysorg/sglang:v0.5.16"})


def _other_gpu(project: Project) -> None:
    project.configure("recipe", str(glm(project.folder, "glm-5.1-fp8-h200")))


def _rotated_key(project: Project) -> None:
    project.configure("apiKeyRotation", "1")


def _other_price(project: Project) -> None:
    glm(project.folder, "glm-5.1-fp8-b200", prices={"gpuSecond": 0.002})


@pytest.mark.parametrize(
    ("change", "status", "options"),
    [
        pytest.param(_more_replicas, 1, (), marks=pytest.mark.cli),  # with the policies
        (_new_revision, 0, WITHOUT),
        (_new_engine, 0, WITHOUT),
        (_other_gpu, 0, WITHOUT),
        (_rotated_key, 0, WITHOUT),
        (_other_price, 0, WITHOUT),
    ],
    ids=["scaling", "revision", "engine", "gpu", "rotation", "price"],
)
def test_changes(
    change: Callable[[Project], None],
    status: int,
    options: tuple[str, ...],
    serving: Project,
    api_key: str,
    review: Review,
    request: pytest.FixtureRequest,
) -> None:
    settings = serving.folder / f"Pulumi.{STACK}.yaml"
    before = settings.read_text(encoding="utf-8")
    change(serving)
    try:
        done = review(serving.folder, serving.environ, STACK, *options)
    finally:
        settings.write_text(before, encoding="utf-8")
        glm(serving.folder, "glm-5.1-fp8-b200")
    assert api_key not in done.out + done.err
    compare(f"change-{request.node.callspec.id}", done, status=status)
