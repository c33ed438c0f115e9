"""Downloads from the local Hub with the real Hub client."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from serving.checkpoint import LEDGER, RemoteFile, check_file
from serving.download import download_weights
from serving.errors import ServingError
from serving.manifest import MANIFEST, SENTINEL
from serving.recipe import Recipe
from tests.serving.conftest import MICRO, RecipeMaker, RunningHub


@pytest.fixture
def micro(make_recipe: RecipeMaker) -> Recipe:
    return _micro(make_recipe)


def _micro(make_recipe: RecipeMaker, **model: str) -> Recipe:
    return make_recipe(
        {"model": {"repo": MICRO, **model}, "download": {"retryDelays": [0.01, 0.02, 0.03], "workers": 2}}
    )


class Volume:
    """Stands for the Modal volume's commit: remembers what was on disk at each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commits: list[set[str]] = []

    def __call__(self) -> None:
        self.commits.append({p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()})


def run(
    recipe: Recipe, hub: RunningHub | None, token: str | None = None, **more: Any
) -> tuple[dict[str, Any], list[str]]:
    lines: list[str] = []
    token = hub.token if hub and token is None else token
    volume = Volume(Path(recipe.volumes.weights.mount_path))
    arguments = {"token": token, "commit_volume": volume, "report": lines.append, "sleep": lambda _: None, **more}
    return download_weights(recipe, recipe.model.revision, **arguments), lines


def folder_of(recipe: Recipe, result: dict[str, Any]) -> Path:
    return Path(recipe.volumes.weights.mount_path) / result["folder"]


def test_everything_arrives_and_the_manifest_comes_last(micro: Recipe, hub: RunningHub) -> None:
    volume = Volume(Path(micro.volumes.weights.mount_path))
    result, lines = run(micro, hub, commit_volume=volume)
    folder = folder_of(micro, result)
    assert result["folder"] == f"micro-glm/{result['commit']}"
    assert len(result["commit"]) == 40
    assert not result["skipped"]
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["repo"] == MICRO
    assert manifest["revision"] == "main"
    assert manifest["commit"] == result["commit"]
    on_disk = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    on_disk.pop(MANIFEST)
    assert {file["path"]: file["size"] for file in manifest["files"]} == on_disk
    assert sum(on_disk.values()) == manifest["bytes"] == result["bytes"] == result["fetched_bytes"]
    assert all(len(file["sha256"]) == 64 for file in manifest["files"])
    # A commit saw everything but the sentinel; only the last one saw sentinel and manifest, and no leftovers.
    assert any(
        not any(p.endswith(SENTINEL) for p in seen) and any("00007" in p for p in seen) for seen in volume.commits
    )
    assert {Path(p).name for p in volume.commits[-1]} >= {SENTINEL, MANIFEST}
    assert not any(LEDGER in p or ".cache" in p for p in volume.commits[-1])
    assert lines[-1].startswith("weights: ")


def test_a_second_run_asks_the_hub_for_the_commit_only(micro: Recipe, hub: RunningHub) -> None:
    first, _ = run(micro, hub)
    hub.control("DELETE", "requests")
    second, _ = run(micro, hub)
    assert second["skipped"]
    assert second["fetched_bytes"] == 0
    assert second["manifest_sha256"] == first["manifest_sha256"]
    assert hub.sent() == {}


def test_a_pinned_and_complete_checkpoint_needs_no_hub(
    make_recipe: RecipeMaker, hub: RunningHub, monkeypatch: Any
) -> None:
    first, _ = run(_micro(make_recipe), hub)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    second, _ = run(_micro(make_recipe, revision=first["commit"]), None)
    assert second["skipped"]


def test_what_keeps_its_size_and_its_date_is_found_by_who_looks_at_the_content(micro: Recipe, hub: RunningHub) -> None:
    first, _ = run(micro, hub)
    shard = sorted(folder_of(micro, first).glob("model-*.safetensors"))[2]
    before = shard.stat()
    right = shard.read_bytes()
    for look in ({"suspects": [shard.name]}, {"suspects": None}):
        shard.write_bytes(bytes(len(right)))
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
        unseen, _ = run(micro, hub)
        assert unseen["skipped"]
        hub.control("DELETE", "requests")
        run(micro, hub, **look)
        assert {name for name in hub.sent() if name.endswith(".safetensors")} == {shard.name}
        assert shard.read_bytes() == right
        before = shard.stat()


def test_without_the_sentinel_it_alone_is_fetched_and_no_shard_read(
    micro: Recipe, hub: RunningHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(micro, hub)
    (folder_of(micro, first) / SENTINEL).unlink()
    read: list[str] = []

    def check(folder: Path, remote: RemoteFile) -> str:
        read.append(remote.path)
        return check_file(folder, remote)

    monkeypatch.setattr("serving.landing.check_file", check)
    run(micro, hub)
    assert read == [SENTINEL]


def test_only_a_flipped_shard_is_fetched_again(micro: Recipe, hub: RunningHub) -> None:
    first, _ = run(micro, hub)
    shard = sorted(folder_of(micro, first).glob("model-*.safetensors"))[2]
    content = bytearray(shard.read_bytes())
    content[-7] ^= 1
    shard.write_bytes(content)
    later = time.time() + 5
    os.utime(shard, (later, later))
    hub.control("DELETE", "requests")
    second, _ = run(micro, hub)
    assert not second["skipped"]
    assert {name for name in hub.sent() if name.endswith(".safetensors")} == {shard.name}
    assert second["fetched_bytes"] < 2 * len(content) + 100_000
    third, _ = run(micro, hub)
    assert third["skipped"]


def test_a_file_rewritten_with_the_same_content_renews_the_manifest(micro: Recipe, hub: RunningHub) -> None:
    first, _ = run(micro, hub)
    folder = folder_of(micro, first)
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    earlier = time.time() - 100
    os.utime(folder / MANIFEST, (earlier, earlier))
    second, _ = run(micro, hub)
    assert second["skipped"]
    assert (folder / MANIFEST).stat().st_mtime >= shard.stat().st_mtime
    assert second["manifest_sha256"] == first["manifest_sha256"]


def test_a_missing_and_a_shortened_file_are_fetched_again(micro: Recipe, hub: RunningHub) -> None:
    first, _ = run(micro, hub)
    shards = sorted(folder_of(micro, first).glob("model-*.safetensors"))
    shards[0].unlink()
    shards[1].write_bytes(b"short")
    hub.control("DELETE", "requests")
    second, _ = run(micro, hub)
    assert {name for name in hub.sent() if name.endswith(".safetensors")} == {shards[0].name, shards[1].name}
    assert not second["skipped"]


def test_a_passing_failure_is_tried_again_and_complete_files_are_kept(
    micro: Recipe, hub: RunningHub, monkeypatch: Any
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the Hub client's own pauses between its own tries
    hub.fault(r"GET /_lfs/.*00003", "reset", after_bytes=1000, times=1)
    hub.fault(r"GET /api/models/.*/tree", "status", status=503, times=7)  # more than the client retries itself
    slept: list[float] = []
    result, lines = run(micro, hub, sleep=slept.append)
    assert slept
    assert any("try 2 of 4" in line for line in lines)
    sizes = {p.name: p.stat().st_size for p in folder_of(micro, result).glob("*.safetensors")}
    for name, size in sizes.items():
        assert hub.sent()[name] <= size + (2000 if "00003" in name else 0), name


def test_too_many_requests_waits_as_long_as_asked(micro: Recipe, hub: RunningHub, monkeypatch: Any) -> None:
    hub.fault(r"GET /api/models/[^/]*/[^/]*/revision", "429", retry_after=7, times=1)
    slept: list[float] = []
    run(micro, hub, sleep=slept.append)
    assert slept == [7.0]


def test_a_damaged_transfer_is_deleted_and_fetched_again(micro: Recipe, hub: RunningHub) -> None:
    hub.fault(r"GET /_lfs/.*00002", "wrong_bytes", after_bytes=5000, times=1)
    result, lines = run(micro, hub)
    assert any("00002" in line and "SHA-256" in line for line in lines)
    assert run(micro, hub)[0]["skipped"]
    assert result["files"] > 7


def test_a_hub_that_always_sends_a_damaged_file_is_named(micro: Recipe, hub: RunningHub) -> None:
    hub.fault(r"GET /_lfs/.*00002", "wrong_bytes", after_bytes=5000, times=100)
    with pytest.raises(ServingError, match=r"00002.*SHA-256 \w+…, expected \w+….*Next: ") as caught:
        run(micro, hub)
    assert "\n" not in str(caught.value)
    folder = next(Path(micro.volumes.weights.mount_path, "micro-glm").iterdir())
    assert not (folder / SENTINEL).exists()
    assert not (folder / MANIFEST).exists()
    assert not any("00002-of" in p.name for p in folder.glob("*.safetensors"))
    hub.control("DELETE", "faults")
    hub.control("DELETE", "requests")
    run(micro, hub)
    assert {name for name in hub.sent() if name.endswith(".safetensors")} == {"model-00002-of-00007.safetensors"}


def test_a_killed_job_goes_on_where_it_was(micro: Recipe, hub: RunningHub) -> None:
    """The process dies in the middle (its threads with it): what it had finished is not sent again."""
    import subprocess
    import sys
    import textwrap

    hub.control("POST", "throttle", {"bytes_per_second": 1_500_000})
    program = textwrap.dedent(
        """
        import sys
        from serving.download import download_weights
        from serving.recipe import Recipe
        recipe = Recipe.model_validate_json(sys.argv[1])
        download_weights(recipe, "main", token=sys.argv[2], commit_volume=lambda: None)
        """
    )
    arguments = [micro.model_dump_json(by_alias=True), hub.token]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    root = Path(micro.volumes.weights.mount_path)
    deadline = time.monotonic() + 30
    while len(done := list(root.rglob("*.safetensors"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = [p.name for p in root.rglob("*.safetensors")]
    assert 2 <= len(done) < 7
    assert not list(root.rglob(MANIFEST))
    before = hub.sent()
    hub.control("DELETE", "requests")
    hub.control("POST", "throttle", {"bytes_per_second": None})
    result, _ = run(micro, hub)
    assert not set(done) & set(hub.sent()), "a file that was complete was fetched again"
    assert result["fetched_bytes"] < result["bytes"]
    assert before
    assert not list(root.rglob("*.incomplete"))


@pytest.mark.parametrize(
    ("model", "token", "expected"),
    [
        ({}, "", r"wants a token.*HF_TOKEN.*huggingface-secret is missing.*pulumi config set --secret hfToken"),
        ({}, "hf_wrong", r"refuses the token.*HF_TOKEN.*huggingface-secret.*pulumi config set --secret hfToken"),
        ({"repo": "glm-serving/no-such"}, None, r"no repository glm-serving/no-such.*model\.repo"),
        ({"revision": "nope"}, None, r"no revision 'nope'.*model\.revision"),
        ({"revision": "0" * 40}, None, r"no revision '0{40}'"),
        ({"repo": "glm-serving/tiny-glm-gated"}, None, r"gated.*accept the licence at http.*/tiny-glm-gated"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_is_said_at_once(
    make_recipe: RecipeMaker, hub: RunningHub, model: dict[str, str], token: str | None, expected: str
) -> None:
    slept: list[float] = []
    with pytest.raises(ServingError, match=expected) as caught:
        run(_micro(make_recipe, **model), hub, token=token, sleep=slept.append)
    assert not slept, "tried again although it cannot succeed"
    assert "\n" not in str(caught.value)
    assert "hf_wrong" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_unreachable_hub_is_given_up_after_all_tries(micro: Recipe, hub: RunningHub, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    slept: list[float] = []
    with pytest.raises(ServingError, match=r"gave up after 4 tries.*Next: "):
        run(micro, hub, sleep=slept.append)
    assert slept == [0.01, 0.02, 0.03]


def test_progress_is_told_while_it_downloads(micro: Recipe, hub: RunningHub, monkeypatch: Any) -> None:
    monkeypatch.setattr("serving.landing._SECONDS_BETWEEN_LINES", 0.3)
    monkeypatch.setattr("serving.landing._SECONDS_BETWEEN_LOOKS", 0.1)
    hub.control("POST", "throttle", {"bytes_per_second": 2_500_000})
    _, lines = run(micro, hub)
    moving = [line for line in lines if "/s · " in line]
    assert moving
    assert all(line.startswith("weights: ") and "files" in line and "left" in line for line in moving)
