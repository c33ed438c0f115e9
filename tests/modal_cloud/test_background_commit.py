"""A commit in the background is not noticed by the program that uses the volume."""

from __future__ import annotations

import pytest

from tests.modal_cloud.apps.busy_writer import app, volume, write

pytestmark = pytest.mark.usefixtures("cloud")


def test_no_access_fails_while_the_view_is_swapped() -> None:
    with app.run():
        assert write.remote(13) == []  # at least two rounds of background commits
    assert len(volume.listdir("/")) == 50
