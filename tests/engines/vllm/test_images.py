"""What images bring along on the local cloud, and what is wrong with them until it is mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from modal_proto import api_pb2

from local.modal_cloud.folders import Folders
from local.modal_cloud.images.registry import look_up
from local.modal_cloud.images.state import Images, Resolved
from local.modal_cloud.store import Store
from tests.engines.vllm.conftest import Serve

MEND = "RUN rm -f /usr/local/lib/python3.12/dist-packages/typing_extensions.py"
Build = Callable[..., Resolved]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    images = Images(Store(tmp_path / "state.sqlite"), Folders(tmp_path))

    def build_image(*commands: str) -> Resolved:
        image, _ = images.get_or_create(api_pb2.Image(dockerfile_commands=commands), "2025.06", force=False)
        assert image.error is None
        return images.resolve(image.id)

    return build_image


def test_each_engine_brings_its_own_command(build: Build) -> None:
    (folder,) = build("FROM vllm/vllm-openai:v0.23.0").brings.bin_path
    assert (folder / "vllm").stat().st_mode & 0o111
    sglang = look_up("lmsysorg/sglang:v0.5.16")
    assert sglang is not None
    assert sglang.bin_path == ()


def test_a_flaw_stays_until_a_command_mends_it(build: Build) -> None:
    assert build("FROM vllm/vllm-openai:glm52-cu129").flaws == ("typing_extensions",)
    assert build("FROM vllm/vllm-openai:glm52-cu129", MEND).flaws == ()
    assert build("FROM vllm/vllm-openai:v0.23.0").flaws == ()


def test_the_engine_of_a_flawed_image_does_not_start(server: Serve) -> None:
    engine = server(LOCAL_IMAGE_FLAWS="typing_extensions")
    assert engine.wait_exit() == 1
    assert "ImportError: cannot import name 'Sentinel' from 'typing_extensions'" in engine.log
