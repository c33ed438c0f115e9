"""A volume without room is told as one, whatever wrote to it; other failures stay what they are."""

from __future__ import annotations

import errno

import pytest

from serving.disk_full import disk_full_told
from serving.errors import ServingError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_says_which_volume_and_what_to_type(number: int) -> None:
    with (
        pytest.raises(ServingError) as told,
        disk_full_told("kernels", "glm51-deepgemm-cache", folder="old kernel key"),
    ):
        raise OSError(number, "No space left on device")
    assert str(told.value) == (
        "kernels: no space left on volume glm51-deepgemm-cache. Next: free space with `modal volume ls "
        "glm51-deepgemm-cache` and `modal volume rm -r glm51-deepgemm-cache <old kernel key>`, then pulumi up"
    )


def test_another_failure_goes_on_as_it_is() -> None:
    with pytest.raises(PermissionError), disk_full_told("kernels", "v", folder="old kernel key"):
        raise PermissionError(errno.EACCES, "Permission denied")
