"""Numbers for tokens: given when a token is first met, so that they lead back to it."""

from __future__ import annotations

_FIRST = 1000


class Vocabulary:
    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._pieces: list[str] = []

    def encode(self, pieces: list[str]) -> list[int]:
        for piece in pieces:
            if piece not in self._ids:
                self._ids[piece] = _FIRST + len(self._pieces)
                self._pieces.append(piece)
        return [self._ids[piece] for piece in pieces]

    def decode(self, ids: list[int]) -> str:
        """An id that was never given out is shown as a space."""
        known = range(_FIRST, _FIRST + len(self._pieces))
        return "".join(self._pieces[number - _FIRST] if number in known else " " for number in ids)
