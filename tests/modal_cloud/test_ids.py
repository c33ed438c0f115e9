"""Ids as the SDK reads them."""

from __future__ import annotations

import re

from modal.sandbox._task_command_router_client import _is_v2_task_id

from local.modal_cloud.ids import new_id


def test_they_look_like_modals_and_no_container_is_taken_for_a_newer_sandboxs() -> None:
    found = {new_id("ta") for _ in range(1000)}
    assert len(found) == 1000
    assert all(re.fullmatch(r"ta-[A-Za-z0-9]{22}", name) for name in found)
    assert not any(map(_is_v2_task_id, found))
