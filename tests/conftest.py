from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from local import garbage
from tests.local_cloud import LocalCloud
from tests.pulumi_engine.lab import real_cli

_CLIENT = ("MODAL_", "HF_", "LOCAL_DIR", "NO_PROXY", "no_proxy")

# A machine that is busy with the other worker's stack is not what an example is to be blamed for.
hypothesis.settings.register_profile(
    "shared machine",
    hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("shared machine")


class FileScheduling(LoadFileScheduling):
    """The tests of one file run in order on one worker: they may share a cloud or a stack."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        if path.startswith("tests/serving/test_on_local_cloud"):
            return "tests/serving/test_on_local_cloud"  # one pipeline run fills the volumes for all of them
        return path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileScheduling:
    return FileScheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the tests marked `long` as well")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Everything else takes the bundled engine where there is no CLI."""
    if item.get_closest_marker("cli") and real_cli() is None:
        why = "needs the real Pulumi CLI, which is not on PATH (policies, stacks of the real Modal, comparisons)"
        pytest.fail(why, pytrace=False) if os.environ.get("CI") else pytest.skip(why)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is loaded here stays. Looking through it for garbage takes half of the time of collecting, and a quarter of
    that of tests of recipes and costs."""
    with garbage.left_alone():
        return (yield)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with whole stacks take longest and come first, then those that need the cloud, and last those that start
    nothing: so that no worker is left with a long one at the end."""
    if not config.getoption("--long"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    stacks = {item.path for item in items if item.nodeid.startswith("tests/stack/")}
    cloud = {item.path for item in items if item.get_closest_marker("cloud")}
    alone = {item.path for item in items if item.nodeid.startswith(("tests/infra/", "tests/recipes/"))}
    items.sort(key=lambda item: (item.path not in stacks, item.path not in cloud, item.path in alone))


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """The session's local cloud. The modal SDK in this process talks to it, too."""
    instance = LocalCloud(tmp_path_factory.mktemp("cloud"))
    instance.start()
    before = dict(os.environ)
    os.environ.update({name: value for name, value in instance.env.items() if name.startswith(_CLIENT)})
    yield instance
    os.environ.clear()
    os.environ.update(before)
    instance.stop()


@pytest.fixture
def own_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A cloud for one test that stops, kills or restarts it. Only subprocesses talk to it."""
    instance = LocalCloud(tmp_path_factory.mktemp("cloud"))
    instance.start()
    yield instance
    instance.stop()
