"""The whole cloud run by an ordinary user."""

from __future__ import annotations

import pytest

from tests.local_cloud import LocalCloud
from tests.modal_cloud.test_restart import survives
from tests.modal_cloud.web_apps import WebApp, answers, eventually
from tests.ordinary_user import cloud_of_nobody

__all__ = ["cloud_of_nobody"]
pytestmark = pytest.mark.cloud


def test_an_ordinary_user_can_run_it(cloud_of_nobody: LocalCloud) -> None:
    cloud = cloud_of_nobody
    app = WebApp(cloud, "user")
    app.deploy(min=1)
    printed = cloud.python(
        """
import modal
print(modal.Server.from_name("user", "Serve").get_url())
print(modal.Cls.from_name("user", "Web")().serve.get_web_url())
print(modal.Function.from_name("user", "where").remote()[1])
print(modal.Function.from_name("user", "keep").remote("text"))
"""
    ).stdout.split()
    assert printed[2:] == ["1", "text"]
    for url in printed[:2]:
        assert eventually(lambda url=url: answers(url))["version"] == "1"
    cloud.stop()
    assert list((cloud.dir / "containers").iterdir()) == []
    kept = [path.read_text() for path in (cloud.dir / "volumes").glob("*/kept")]
    assert kept == ["text"]


def test_what_was_acknowledged_survives_a_kill(cloud_of_nobody: LocalCloud) -> None:
    survives(cloud_of_nobody, "kill")
