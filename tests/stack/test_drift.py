"""What somebody changes by hand: a refresh says it in words, the next `up` mends that and nothing else.

One stack goes through all rows of docs/life-cycles.md; several things are wrong in each refresh.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.project import STACK, Outcome, Project

pytestmark = [pytest.mark.cloud, pytest.mark.long]

AUTOSCALER = {
    "min_containers": ("minContainers", 1, 0),
    "max_containers": ("maxContainers", 7, 2),
    "buffer_containers": ("bufferContainers", 1, 0),
    "scaledown_window": ("scaledownWindow", 60, 300),
}
"""The SDK's name, ours, the value set by hand, the configured one."""


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    project = new_project("drift")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    return project


def check(project: Project) -> tuple[int, str]:
    """What a scheduled check runs; its exit status and what it prints. Nothing is written down."""
    command = ["pulumi", "refresh", "--preview-only", "--expect-no-changes", "--non-interactive", "--color", "never"]
    finished = subprocess.run(
        [*command, "--stack", STACK],
        cwd=project.folder,
        env={**os.environ, **project.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


def mend(project: Project, *words: str) -> Outcome:
    """Refreshes, which must say all these words, and brings the stack up again."""
    refreshed = project.refresh()
    assert not refreshed.failed, refreshed.text
    for word in words:
        assert word in refreshed.text, refreshed.text
    outcome = project.up()
    assert not outcome.failed, outcome.text
    outcome.steps.pop("release-record", None)  # each new version has one
    return outcome


def on_disk(project: Project, name: str) -> Path:
    """A file of one of the project's volumes, where the local cloud keeps it."""
    return next((project.cloud.dir / "volumes").glob(f"vo-*/**/{name}"))


def shard(number: int) -> str:
    return f"model-0000{number}-of-00005.safetensors"


def test_a_stack_as_it_was_left_has_no_drift(project: Project) -> None:
    status, text = check(project)
    assert status == 0, text


def test_shards_scaling_and_a_stopped_pipeline_are_mended_without_a_restart(project: Project, tmp_path: Path) -> None:
    folder = f"tiny-glm/{project.outputs()['commit']}"
    fetched, replicas, version = project.hub.shard_bytes(), project.containers(), project.outputs()["version"]
    project.modal("volume", "rm", "drift-weights", f"{folder}/{shard(1)}")
    for number, size in ((2, 100), (3, on_disk(project, shard(3)).stat().st_size)):
        local = tmp_path / shard(number)
        local.write_bytes(bytes(size))
        project.modal("volume", "put", "--force", "drift-weights", str(local), f"{folder}/{shard(number)}")
    kept_its_date = on_disk(project, shard(4))
    size = kept_its_date.stat().st_size
    kept_its_date.write_bytes(bytes(size))
    os.utime(kept_its_date, (1_000_000_000, 1_000_000_000))
    project.modal("app", "stop", "drift-pipeline", "--yes")
    settings = ", ".join(f"{name}={by_hand}" for name, (_, by_hand, _) in AUTOSCALER.items())
    project.python(f"import modal; modal.Cls.from_name('drift', 'Server')().serve.autoscaler.update({settings})")
    project.modal("dict", "delete", "drift-jobs", "--yes")

    status, text = check(project)
    assert status != 0
    assert f"{shard(1)} is missing" in text
    assert "no changes were expected" in text
    assert "Traceback" not in text
    outcome = mend(
        project,
        f"{shard(1)} is missing; {shard(2)} has 100 bytes instead of",
        f"{shard(3)} was written again after its check and 1 more",
        "app drift-pipeline: is stopped",
        *(f"{ours} {by_hand} instead of {configured}" for ours, by_hand, configured in AUTOSCALER.values()),
    )
    assert set(outcome.steps) == {"pipeline", "weights", "verification", "app"}, outcome.text
    assert "autoscaler updated in place" in outcome.text
    assert project.outputs()["version"] == version
    assert replicas <= project.containers()
    now = project.hub.shard_bytes()
    assert {name for name in now if now[name] > fetched[name]} == {shard(1), shard(2), shard(3), shard(4)}
    assert project.ask().status_code == 200


def test_another_app_under_the_name_a_deleted_secret_and_one_without_its_key(project: Project) -> None:
    project.python("import modal; modal.App('drift', include_source=False).deploy()")
    project.modal("secret", "delete", "drift-key", "--yes")
    project.modal("secret", "create", "--force", "drift-hf", "OTHER=1")
    outcome = mend(
        project,
        "secret drift-key: is gone",
        "secret drift-hf: has no HF_TOKEN any more",
        "version 2 is live, deployed or rolled back to by hand; this stack deployed version 1",
    )
    assert set(outcome.steps) == {"api-secret", "hf-secret", "pipeline", "app", "smoke-test"}, outcome.text
    assert project.ask().status_code == 200


def test_a_roll_back_and_a_secret_with_a_key_too_many(project: Project) -> None:
    project.modal("app", "rollback", "drift", "v1")
    project.python("import modal; modal.Secret.from_name('drift-key').update({'SGLANG_SECRET_SWITCH': '1'})")
    words = "secret drift-key: has SGLANG_SECRET_SWITCH, which this stack has not written"
    outcome = mend(project, "version 4 is live, deployed or rolled back to by hand", words)
    assert set(outcome.steps) == {"api-secret", "app", "smoke-test"}, outcome.text
    assert project.ask().status_code == 200


def test_deleted_volumes_and_a_stopped_app(project: Project) -> None:
    project.modal("app", "stop", "drift", "--yes")
    for volume in ("drift-weights", "drift-kernels"):
        project.modal("volume", "delete", volume, "--yes")
    gone = [f"volume drift-{name}: is gone, with its content" for name in ("weights", "kernels")]
    outcome = mend(project, "app drift: is stopped", "release: the record releases/drift/", *gone)
    made = {"weights-volume", "kernels-volume", "weights", "kernels", "verification", "app", "smoke-test"}
    assert set(outcome.steps) == made | {"pipeline"}, outcome.text
    assert project.ask().status_code == 200


def test_what_no_listing_shows_is_found_by_reading_everything(project: Project) -> None:
    altered, fetched = on_disk(project, shard(5)), project.hub.shard_bytes()
    before = altered.stat()
    altered.write_bytes(bytes(before.st_size))
    os.utime(altered, ns=(before.st_atime_ns, before.st_mtime_ns))
    status, text = check(project)
    assert status == 0, text
    project.configure("weightsRehash", "1")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert "every file hashed again" in outcome.text
    assert set(outcome.steps) == {"weights", "verification", "app"}, outcome.text
    now = project.hub.shard_bytes()
    assert {name for name in now if now[name] > fetched[name]} == {shard(5)}


def test_in_the_end_nothing_is_left_to_mend(project: Project) -> None:
    assert project.up().steps == {}
    status, text = check(project)
    assert status == 0, text
