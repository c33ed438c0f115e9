"""Keeps a pool from starting containers for ever that never get anywhere. Pure bookkeeping."""

from __future__ import annotations

from modal_proto import api_pb2

FATAL_STREAK = 3
"""Failures in a row after which waiting inputs fail."""
_LONGEST_PAUSE = 30.0
"""Seconds."""


class CrashLoop:
    """Failures in a row of one version's containers. Times are of any steady clock, in seconds."""

    def __init__(self) -> None:
        self.streak = 0
        self.last: api_pb2.GenericResult | None = None
        """How the last one failed."""
        self._next_start = 0.0

    def failed(self, result: api_pb2.GenericResult, at: float) -> None:
        self.streak += 1
        self.last = result
        if self.streak >= FATAL_STREAK:
            self._next_start = at + min(_LONGEST_PAUSE, 2.0 ** (self.streak - FATAL_STREAK))

    def succeeded(self) -> None:
        """A container finished an input or has run for a while."""
        self.__init__()  # type: ignore[misc]

    @property
    def broken(self) -> bool:
        return self.streak >= FATAL_STREAK

    def pause(self, at: float) -> float:
        """Seconds until the next start is allowed."""
        return max(0.0, self._next_start - at)

    def verdict(self) -> api_pb2.GenericResult:
        """What waiting inputs end with: the exception of the last failed container, as the container reported it."""
        if self.last is not None and self.last.data:
            return self.last
        reason = self.last.exception if self.last is not None else ""
        return api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE,
            exception=f"{self.streak} containers in a row failed, the last one because: {reason}",
        )
