from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.local_cloud import LocalCloud

_CLIENT = ("MODAL_", "HF_", "LOCAL_DIR", "NO_PROXY", "no_proxy")


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
