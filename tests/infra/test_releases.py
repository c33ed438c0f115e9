"""Release records as they are listed, chosen and compared; where they come from is in tests/stack/test_releases.py."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components import modal_api, release_files
from components.release_files import Place
from infra import release_restore, release_table, releases
from infra.release_restore import RestoreError
from infra.releases import History, ReleaseError
from serving.recipe import load_recipe

COMMIT = "8" * 40


def record(version: int, status: str = "passed", app_id: str = "ap-2", **changes: Any) -> dict[str, Any]:
    return {
        "status": status,
        "app": "glm",
        "appId": app_id,
        "version": version,
        "release": f"r{version}{app_id}",
        "at": f"2026-11-21T1{version}:00:00+00:00",
        "by": "ann@laptop",
        "config": {"commit": COMMIT, "dirty": False},
        "model": {"repo": "o/n", "commit": COMMIT, "servedName": "glm"},
        "weights": {"volume": "w", "folder": f"n/{COMMIT}"},
        "engine": {"name": "sglang", "version": "0.5.16", "image": "i"},
        "gpu": "B200:8",
        "kernelKey": "sm100-1",
        "kernels": {"volume": "k", "folder": "sm100-1"},
        "flags": {"tp": 8, "mem-fraction-static": 0.88},
        "scaling": {"minContainers": 0, "maxContainers": 3},
        "ingress": "web",
        "smokeTest": {"seconds": 400.5} if status == "passed" else None,
        "quality": {"right": 5, "asked": 6, "meanDrop": 0.01, "answers": [{"prompt": "p"}]},
        **changes,
    }


def history(*records: dict[str, Any], live: int | None) -> History:
    app = None if live is None else SimpleNamespace(app_id="ap-2", version=live)
    return History("prod", SimpleNamespace(), Place("main", "w", "glm"), list(records), app)  # type: ignore[arg-type]


FAILED = record(3, "failed", reason="quality: too low", rolledBackTo={"version": 2, "as": 4})
NO_KERNELS = record(1, weights={"volume": "w", "folder": "n/gone"})
del NO_KERNELS["kernels"]
EARLIER_LIFE = record(2, app_id="ap-1")
ALL = (EARLIER_LIFE, record(1), record(2), FAILED)


@pytest.mark.parametrize(("live", "version"), [(2, 2), (1, 1), (4, 2), (9, None), (3, None)])
def test_what_serves_is_found_behind_a_roll_back(live: int, version: int | None) -> None:
    serving = history(*ALL, live=live).serving
    assert (serving and serving["version"]) == version
    assert serving is None or serving["appId"] == "ap-2"


def test_a_version_is_one_of_the_app_as_it_is_now_and_any_release_is_found_by_name() -> None:
    found = history(*ALL, live=4)
    assert found.chosen("2")["appId"] == found.chosen("v2")["appId"] == "ap-2"
    assert found.chosen("r2ap-1") is EARLIER_LIFE
    assert found.chosen("3")["status"] == "failed"
    with pytest.raises(ReleaseError, match=r"glm has no record of 7; `python -m infra\.releases prod list`"):
        found.chosen("7")


def test_a_second_try_of_a_version_counts() -> None:
    found = history(record(1, "failed", reason="x"), record(1), live=1)
    assert found.chosen("1")["status"] == "passed"
    assert found.serving is found.records[1]


def test_the_list() -> None:
    _, *rows, stopped, reason, serves = release_table.listed(history(*ALL, live=4))
    assert [row[0] for row in rows] == ["·", " ", "→", " "]
    assert stopped == "  · of an app that was stopped since, to be named by its release"
    marked = [row for row in rows if row.startswith("→")]
    assert [row.split()[1] for row in marked] == ["2"]
    assert "400.5 s" in marked[0]
    assert "5/6 -0.010" in marked[0]
    assert reason == "  3 failed: quality: too low"
    assert serves == "  version 2 serves, as version 4"
    assert next(release_table.listed(history(live=None))).startswith("glm: no release record in volume w")
    assert list(release_table.listed(history(*ALL, live=None)))[-1] == "  glm is not deployed now"
    assert list(release_table.listed(history(*ALL, live=9)))[-1] == "  version 9 serves, of which there is no record"
    assert list(release_table.listed(history(*ALL, live=3)))[-1] == "  version 3 is the one deployed now"


def test_a_comparison_shows_only_what_differs() -> None:
    one, other = record(1), record(2, flags={"tp": 8, "mem-fraction-static": 0.85, "ep": 1}, release="r1ap-2")
    heading, *rows = release_table.compared(history(live=2), one, other)
    assert "version 1, 2026-11-21 11:00, ann@laptop" in heading
    assert [row.split() for row in rows] == [
        ["version", "1", "2"],
        ["flags.mem-fraction-static", "0.88", "0.85"],
        ["flags.ep", "–", "1"],
    ]


@pytest.mark.parametrize(
    ("chosen", "live", "why"),
    [
        (FAILED, 4, "version 3 has failed its smoke test: quality: too low"),
        (record(2), 4, "version 2 serves already"),
        (EARLIER_LIFE, 4, f"of an app that was stopped since.*git checkout {COMMIT} && pulumi up --stack prod"),
        (record(1), None, "glm is not deployed"),
        (record(1), 4, "could not start: sm100-1 is no longer on volume k; git checkout"),
        (NO_KERNELS, 4, "could not start: n/gone is no longer on volume w; git checkout"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_happens(
    chosen: dict[str, Any], live: int | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = b'{"files": []}'
    there = {f"n/{COMMIT}/.manifest.json": manifest}
    monkeypatch.setattr(modal_api, "read_volume_file", lambda _environment, _volume, path: there.get(path))
    monkeypatch.setattr(modal_api, "list_volume_files", lambda *_: {})
    with pytest.raises(RestoreError, match=why):
        next(release_restore.restored(history(*ALL, live=live), chosen))


def test_a_stack_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Pulumi.prod.yaml").touch()
    with pytest.raises(ReleaseError, match=r"there is no Pulumi\.pord\.yaml in .*; stacks here: prod"):
        releases.read("pord", tmp_path)
    assert releases.main(["prod", "restore"]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    assert release_files.config_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *author, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert release_files.config_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "Pulumi.prod.yaml").touch()
    assert release_files.config_commit(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}


def test_a_record_is_one_new_file_and_others_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    place, files = Place("main", "w", "glm"), {"releases/glm/notes": b"not JSON"}
    monkeypatch.setattr(modal_api, "write_volume_file", lambda _e, _v, path, content: files.update({path: content}))
    monkeypatch.setattr(modal_api, "read_volume_file", lambda _e, _v, path: files.get(path))
    monkeypatch.setattr(
        modal_api, "list_volume_files", lambda _e, _v, folder: {path.removeprefix(f"{folder}/"): 0 for path in files}
    )
    assert release_files.last_quality(place) is None
    for version, status, quality in ((1.0, "passed", {"right": 6.0}), (2.0, "failed", {"right": 1.0})):
        release_files.write(place, status, {"release": f"r{version:.0f}", "version": version, "quality": quality})  # type: ignore[arg-type]
    assert len(files) == 3
    assert [(r["version"], r["status"]) for r in release_files.read_all(place)] == [(1, "passed"), (2, "failed")]
    assert release_files.last_quality(place) == {"right": 6}
    assert all(json.loads(content)["by"] for path, content in files.items() if path.endswith(".json"))


def test_restoring_asks_the_release_under_the_name_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's file has moved on to SGLang; the record is of vLLM, which tells releases apart by their name."""
    done: list[Any] = []
    asked: list[Any] = []
    monkeypatch.setattr(release_restore, "_missing", lambda *_: "")
    monkeypatch.setattr(release_restore, "_api_key", lambda _: "key")
    monkeypatch.setattr(release_restore, "keep_asking", lambda *_: None)
    monkeypatch.setattr(release_restore, "check_answers", lambda endpoint, questions: asked.append(endpoint))
    monkeypatch.setattr(release_restore, "check_models", asked.append)
    monkeypatch.setattr(release_restore, "check_key", asked.append)
    monkeypatch.setattr(modal_api, "serving_url", lambda *_: "http://x")
    monkeypatch.setattr(modal_api, "roll_back_app", lambda *to: done.append(to) or modal_api.LiveApp("ap-2", 5))
    monkeypatch.setattr(modal_api, "update_autoscaler", lambda *to: done.append(to))
    monkeypatch.setattr(modal_api, "write_volume_file", lambda _e, _v, path, content: done.append(json.loads(content)))
    recipe = load_recipe(release_files.REPOSITORY / "recipes" / "tiny-glm-local.yaml")
    vllm = record(1, engine={"name": "vllm", "version": "0.23.0", "image": "i"}, config=None)
    then = history(vllm, record(2), live=2)
    settings = SimpleNamespace(recipe=recipe, proxy_auth=False, schedule=None)
    said = list(release_restore.restored(dataclasses.replace(then, settings=settings), vllm))  # type: ignore[arg-type]
    assert {(endpoint.model, endpoint.served_name, endpoint.release) for endpoint in asked} == {
        ("glm@r1ap-2", "glm", "r1ap-2")
    }
    assert len(asked) == 3
    rolled, scaled, filed = done
    assert rolled == ("main", "glm", 1, "rolling")
    assert scaled == ("main", "glm", "web", {"minContainers": 0, "maxContainers": 3})
    assert (filed["status"], filed["version"], filed["restores"], filed["release"]) == ("restored", 5, 1, "r1ap-2")
    assert said[-1] == "to keep it: configure what `show` tells of it, then pulumi up --refresh --stack prod"
    later = history(vllm, record(2), filed, live=5)
    assert later.serving is filed
    assert any(row.startswith("→  5") and "restores 1" in row for row in release_table.listed(later))
