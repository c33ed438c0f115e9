"""A volume without room, told as what it is and what to type."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import ServingError

_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _NUMBERS


def disk_full(job: str, volume: str, *, folder: str, needed: str = "") -> ServingError:
    """`folder`: what one of those is called that may be removed, such as "old commit"."""
    return ServingError(
        f"{job}: no space left on volume {volume}{f' ({needed} needed)' if needed else ''}. Next: free space with "
        f"`modal volume ls {volume}` and `modal volume rm -r {volume} <{folder}>`, then pulumi up"
    )


@contextmanager
def disk_full_told(job: str, volume: str, *, folder: str) -> Iterator[None]:
    """Raises ServingError where what is done in it runs out of room."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(job, volume, folder=folder) from None
        raise
