"""`memory=(request, limit)`: a container that goes beyond its limit is killed, and what it ran runs again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import modal
import pytest
from modal.exception import RemoteError

from tests.local_cloud import LocalCloud
from tests.modal_cloud.modal_command import modal_command
from tests.modal_cloud.stage import mode, staged

__all__ = ["mode"]
pytestmark = pytest.mark.cloud
WORDS = r"it ran out of memory: it had \d+ MiB, its limit is 400 MiB, and it was killed"


@pytest.fixture(scope="module")
def app(cloud: LocalCloud) -> str:
    modal_command("deploy", "-m", "tests.modal_cloud.apps.memory_app")
    return "memory"


@pytest.fixture
def name() -> str:
    return uuid4().hex[:8]


def function(name: str) -> modal.Function:
    return modal.Function.from_name("memory", name)


def test_an_input_that_is_too_large_fails_after_three_containers(app: str, name: str, cloud: LocalCloud) -> None:
    with pytest.raises(RemoteError, match=f"3 containers ended while running this input.*{WORDS}"):
        function("take").remote(name, 600)
    assert modal.Dict.from_name("memory-notes")[name] == 3
    assert "ran out of memory" in modal_command("app", "logs", app)
    assert "ran out of memory" in cloud.run([sys.executable, "-m", "local", "logs"]).stdout


def test_an_input_whose_container_was_killed_runs_again(app: str, name: str) -> None:
    assert function("take").remote(f"{name}-small", 1) == 1  # ends the crash loop that another test has left
    assert function("take").remote(name, 600, calm_from=2) == 2


def test_below_the_limit_nothing_happens(app: str, name: str) -> None:
    assert function("take").remote(name, 200) == 1
    assert function("share").remote(200, 4) == 4, "200 MiB that five processes share are 200 MiB"
    assert function("map_file").remote(600) > 600, "pages of a file can be dropped"
    assert function("request_only").remote(450) == 450, "a request is no limit"


def test_the_limit_holds_for_root_and_for_everybody(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            container = await stage.start(
                "taken = b'x' * (300 << 20); print('taken'); import time; time.sleep(30)", memory_limit=200 << 20
            )
            assert await container.wait() == -9
            assert 200 << 20 < container.out_of_memory < 400 << 20
            small = await stage.start("import time; time.sleep(1)", memory_limit=200 << 20)
            assert (await small.wait(), small.out_of_memory) == (0, 0)

    asyncio.run(run())
