"""The one exception that a user is meant to read."""

from __future__ import annotations


class ServingError(Exception):
    """An expected failure, told in one line: what failed, the cause, the next command to type.

    Crosses process boundaries by pickle (Modal returns exceptions that way), so it holds nothing but its message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def __str__(self) -> str:
        return str(self.args[0])
