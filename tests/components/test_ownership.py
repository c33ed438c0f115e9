"""Deleting what was replaced must not delete what has been taken into use again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from components import artifacts, modal_api
from components.dynamic import Properties
from components.kernels import KernelsProvider
from components.volume import VolumeProvider

pytestmark = [pytest.mark.cloud, pytest.mark.usefixtures("cloud")]

INPUTS: Properties = {
    "environment": "main",
    "pipelineApp": "none",
    "jobsDict": "none",
    "volume": "owned-kernels",
    "key": "sm100-0123",
    "marker": ".compiled",
    "commit": "c" * 40,
    "estimate": "",
}


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[Properties]:
    """Inputs of kernels that are complete on their volume, so that no job is needed."""
    (tmp_path / "kernel.cubin").write_bytes(b"12345")
    (tmp_path / artifacts.MANIFEST).write_text('{"files": [{"path": "kernel.cubin", "size": 5}]}')
    (tmp_path / ".compiled").write_text("")
    modal_api.ensure_volume("main", "owned-kernels", 2)
    with modal.Volume.from_name("owned-kernels").batch_upload(force=True) as upload:
        upload.put_directory(str(tmp_path), "/sm100-0123")
    yield INPUTS
    modal_api.delete_volume("main", "owned-kernels")


def test_kernels_put_back_after_a_failed_change_survive_the_pending_delete(kernels: Properties) -> None:
    provider = KernelsProvider()
    before = provider.create(kernels)
    assert before.outs is not None
    again = provider.create(kernels)  # the change in between failed: `before` is still to be deleted
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert "kernel.cubin" in modal_api.list_volume_files("main", "owned-kernels", "sm100-0123")
    provider.delete(again.id, again.outs)
    assert modal_api.list_volume_files("main", "owned-kernels", "sm100-0123") == {}


def test_a_volume_put_back_survives_likewise() -> None:
    provider = VolumeProvider()
    inputs = {"environment": "main", "name": "owned-volume", "version": 2, "retain": False}
    before, again = provider.create(inputs), provider.create(inputs)
    assert before.outs is not None
    assert again.outs is not None
    provider.delete(before.id, before.outs)
    assert modal_api.find_volume("main", "owned-volume")
    provider.delete(again.id, again.outs)
    assert modal_api.find_volume("main", "owned-volume") is None
