"""Volumes of both versions through the public SDK and CLI."""

from __future__ import annotations

import io
import os
from pathlib import Path
from uuid import uuid4

import modal
import pytest
from modal.exception import AlreadyExistsError, InvalidError, NotFoundError

from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

BLOCK = 8 * 1024 * 1024


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def volume(request: pytest.FixtureRequest, cloud: LocalCloud) -> modal.Volume:
    name = f"v{request.param}-{uuid4().hex[:8]}"
    modal.Volume.objects.create(name, version=request.param)
    return modal.Volume.from_name(name)


def upload(volume: modal.Volume, files: dict[str, bytes], force: bool = False) -> None:
    with volume.batch_upload(force=force) as batch:
        for path, content in files.items():
            batch.put_file(io.BytesIO(content), path)


def read(volume: modal.Volume, path: str) -> bytes:
    return b"".join(volume.read_file(path))


def test_files_come_back_as_they_were(volume: modal.Volume) -> None:
    # More than two blocks, with a block of zeros and a tail of zeros: those are not sent.
    large = os.urandom(BLOCK) + bytes(BLOCK) + os.urandom(1000) + bytes(5000)
    files = {"small.txt": b"hello", "deep/down/large.bin": large, "empty": b""}
    upload(volume, files)
    assert {path: read(volume, path) for path in files} == files
    target = io.BytesIO()
    volume.read_file_into_fileobj("deep/down/large.bin", target)
    assert target.getvalue() == large


def test_listing(volume: modal.Volume) -> None:
    upload(volume, {"b.txt": b"1", "a/x": b"12", "a/y": b"123"})
    assert [(entry.path, entry.type.name) for entry in volume.listdir("/")] == [("a", "DIRECTORY"), ("b.txt", "FILE")]
    assert [entry.path for entry in volume.listdir("/", recursive=True)] == ["a", "a/x", "a/y", "b.txt"]
    assert [(entry.path, entry.size) for entry in volume.listdir("a/y")] == [("a/y", 3)]
    with pytest.raises(NotFoundError):
        volume.listdir("nowhere")


def test_existing_files_are_kept_unless_forced(volume: modal.Volume) -> None:
    upload(volume, {"file": b"old"})
    with pytest.raises(FileExistsError):
        upload(volume, {"file": b"new"})
    assert read(volume, "file") == b"old"
    upload(volume, {"file": b"new"}, force=True)
    assert read(volume, "file") == b"new"


def test_removal(volume: modal.Volume) -> None:
    upload(volume, {"dir/a": b"1", "dir/b": b"2", "c": b"3"})
    volume.remove_file("c")
    with pytest.raises(FileNotFoundError):
        read(volume, "c")
    with pytest.raises(FileNotFoundError):
        volume.remove_file("c")
    with pytest.raises(InvalidError):
        volume.remove_file("dir")
    volume.remove_file("dir", recursive=True)
    assert volume.listdir("/") == []


def test_paths_cannot_lead_out(volume: modal.Volume) -> None:
    with pytest.raises(InvalidError):
        upload(volume, {"../escape": b"1"})
    with pytest.raises(InvalidError):
        read(volume, "../installation.json")


def test_same_content_twice_in_one_upload(volume: modal.Volume) -> None:
    content = os.urandom(1000)
    upload(volume, {"one": content, "two": content})
    upload(volume, {"three": content})
    assert read(volume, "one") == read(volume, "two") == read(volume, "three") == content


def test_copying(volume: modal.Volume) -> None:
    upload(volume, {"a.txt": b"a", "b.txt": b"b"})
    volume.copy_files(["a.txt"], "copy.txt")
    assert read(volume, "copy.txt") == b"a"
    upload(volume, {"dir/keep": b""})
    volume.copy_files(["a.txt", "b.txt"], "dir")
    assert read(volume, "dir/b.txt") == b"b"


def test_creation_adoption_and_deletion(cloud: LocalCloud) -> None:
    name = f"vol-{uuid4().hex[:8]}"
    with pytest.raises(NotFoundError, match=name):
        modal.Volume.from_name(name).hydrate()
    made = modal.Volume.from_name(name, create_if_missing=True, version=2).hydrate()
    assert modal.Volume.from_name(name).hydrate().object_id == made.object_id
    with pytest.raises(InvalidError, match="version v2"):
        modal.Volume.from_name(name, version=1).hydrate()
    with pytest.raises(AlreadyExistsError):
        modal.Volume.objects.create(name)
    folder = cloud.dir / "volumes" / made.object_id
    assert folder.is_dir()
    modal.Volume.objects.delete(name)
    assert not folder.exists()
    modal.Volume.objects.delete(name, allow_missing=True)
    with pytest.raises(NotFoundError):
        modal.Volume.objects.delete(name)


def test_ephemeral_volumes_have_no_name(cloud: LocalCloud) -> None:
    with modal.Volume.ephemeral() as volume:
        upload(volume, {"a": b"1"})
        assert read(volume, "a") == b"1"


def test_cli(cloud: LocalCloud, tmp_path: Path) -> None:
    name = f"cli-{uuid4().hex[:8]}"
    cloud.modal("volume", "create", name)
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"content")
    cloud.modal("volume", "put", name, str(tmp_path / "tree"), "/")
    assert "tree/sub/file" in cloud.modal("volume", "ls", name, "tree/sub").stdout
    (tmp_path / "back").mkdir()
    cloud.modal("volume", "get", name, "tree", str(tmp_path / "back"))
    assert next((tmp_path / "back").rglob("file")).read_bytes() == b"content"
    cloud.modal("volume", "rm", "-r", name, "tree")
    assert "tree" not in cloud.modal("volume", "ls", name).stdout
    cloud.modal("volume", "rename", "--yes", name, f"{name}-new")
    assert f"{name}-new" in cloud.modal("volume", "list").stdout
    cloud.modal("volume", "delete", "--yes", f"{name}-new")
    missing = cloud.modal("volume", "ls", name, check=False)
    assert missing.returncode != 0
    assert name in missing.stdout + missing.stderr
