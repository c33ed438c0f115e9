"""What the rest of the package relies on: adopt, tolerate absence, explain in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import modal
import pytest

from components import artifacts, modal_api
from components.dynamic import DeploymentError

pytestmark = [pytest.mark.cloud, pytest.mark.usefixtures("cloud")]


def test_a_volume_is_made_once_and_then_taken_over() -> None:
    volume_id, is_new = modal_api.ensure_volume("main", "api-volume", 2)
    assert is_new
    assert modal_api.ensure_volume("main", "api-volume", 2) == (volume_id, False)
    modal_api.delete_volume("main", "api-volume")
    assert modal_api.find_volume("main", "api-volume") is None
    modal_api.delete_volume("main", "api-volume")


def test_a_secret_is_known_by_its_keys() -> None:
    assert not modal_api.secret_has_keys("main", "api-secret", ["TOKEN"])
    modal_api.write_secret("main", "api-secret", {"TOKEN": "one"})
    modal_api.write_secret("main", "api-secret", {"TOKEN": "two"})
    assert modal_api.secret_has_keys("main", "api-secret", ["TOKEN"])
    assert not modal_api.secret_has_keys("main", "api-secret", ["TOKEN", "OTHER"])
    assert modal_api.secret_keys("main", "api-secret") == {"TOKEN"}
    modal_api.rewrite_secret("main", "api-secret", {"OTHER": "three"})
    assert modal_api.secret_keys("main", "api-secret") == {"OTHER"}
    modal_api.delete_secret("main", "api-secret")
    modal_api.delete_secret("main", "api-secret")
    assert modal_api.secret_keys("main", "api-secret") is None


def test_what_is_not_there_is_no_error() -> None:
    assert modal_api.find_app("main", "no-such-app") is None
    modal_api.stop_app("main", "no-such-app")
    assert modal_api.list_volume_files("main", "no-such-volume", "x") == {}
    assert modal_api.read_volume_file("main", "no-such-volume", "x") is None
    modal_api.delete_volume_folder("main", "no-such-volume", "x")
    modal_api.delete_dict("main", "no-such-dict")


def test_an_unknown_environment_is_explained() -> None:
    with pytest.raises(DeploymentError, match=r"no environment 'nowhere'; `modal environment create nowhere`"):
        modal_api.ensure_volume("nowhere", "v", 2)


def test_a_refused_token_is_explained(cloud: Any) -> None:
    program = (
        "from components import modal_api\n"
        "from components.dynamic import DeploymentError\n"
        "try: modal_api.ensure_volume('main', 'v', 2)\n"
        "except DeploymentError as error: print(error)"
    )
    finished = cloud.run([sys.executable, "-c", program], env={"MODAL_TOKEN_SECRET": "as-wrong"})
    assert "Modal refused the token" in finished.stdout
    assert "`modal token new`" in finished.stdout
    assert "as-wrong" not in finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def artifact(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("artifact")
    (folder / "a.bin").write_bytes(b"12345")
    (folder / artifacts.MANIFEST).write_text('{"files": [{"path": "a.bin", "size": 5}, {"path": "done", "size": 0}]}')
    (folder / "done").write_text("")
    modal_api.ensure_volume("main", "artifact-volume", 2)
    with modal.Volume.from_name("artifact-volume").batch_upload() as upload:
        upload.put_directory(str(folder), "/key")
    return "artifact-volume"


def test_a_whole_artifact_has_no_problems(artifact: str) -> None:
    found = artifacts.inspect("main", artifact, "key", ["done"])
    assert found is not None
    assert found.problems == []


def test_a_missing_marker_and_a_truncated_file_are_named(artifact: str, tmp_path: Path) -> None:
    volume = modal.Volume.from_name(artifact)
    volume.remove_file("/key/done")
    (tmp_path / "short").write_bytes(b"123")
    with volume.batch_upload(force=True) as upload:
        upload.put_file(str(tmp_path / "short"), "/key/a.bin")
    found = artifacts.inspect("main", artifact, "key", ["done"])
    assert found is not None
    assert found.problems == ["done is missing", "a.bin has 3 bytes instead of 5"]


def test_without_a_manifest_there_is_no_artifact(artifact: str) -> None:
    assert artifacts.inspect("main", artifact, "other", ["done"]) is None
