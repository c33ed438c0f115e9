"""Where the body of an answer ends. It is not taken apart: clients that know chunks get those of the server."""

from __future__ import annotations

import re
from typing import Protocol

_LONGEST_LINE = 64 * 1024
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[\s;])")
_LINE_END = b"\r\n"
_EMPTY_LINE = (_LINE_END, b"\n")


class BrokenAnswer(Exception):
    """The server ended its answer too early, or what came is no HTTP; the text says which."""


class Framing(Protocol):
    over: bool

    def take(self, block: bytes) -> bytes:
        """What the client gets of a block: as much as belongs to the body. Raises BrokenAnswer."""

    def connection_ended(self) -> None:
        """Raises BrokenAnswer unless the body may end here."""


class Counted:
    """So many bytes; none for an answer without a body."""

    def __init__(self, length: int) -> None:
        self._missing = length
        self.over = length == 0

    def take(self, block: bytes) -> bytes:
        taken = block[: self._missing]
        self._missing -= len(taken)
        self.over = not self._missing
        return taken

    def connection_ended(self) -> None:
        raise BrokenAnswer(f"it closed the connection {self._missing} bytes before the end of its answer")


class Chunked:
    """Chunks, a chunk of size 0, trailers, an empty line: all of it belongs to the body. `unpacked`: what is in them
    alone, for a client of HTTP/1.0, which reads until the connection is closed."""

    def __init__(self, unpacked: bool = False) -> None:
        self._unpacked = unpacked
        self.over = False
        self._skip = 0
        """Bytes to the next line: the rest of a chunk with its line end."""
        self._line = b""
        """The beginning of a line that the last block ended in."""
        self._in_trailers = False

    def take(self, block: bytes) -> bytes:
        position, length = self._skip, len(block)
        content = [block[: max(position - len(_LINE_END), 0)]]
        while position < length:
            line_end = block.find(b"\n", position) + 1
            line = self._line + block[position : line_end or length]
            if len(line) > _LONGEST_LINE:
                raise BrokenAnswer("a chunk of its answer has no size")
            if not line_end:
                self._line, position = line, length
                break
            self._line, position = b"", line_end
            if self._in_trailers:
                if line in _EMPTY_LINE:
                    self.over = True
                    break
            elif size := _size(line):
                content.append(block[position : position + size])
                position += size + len(_LINE_END)
            else:
                self._in_trailers = True
        self._skip = max(position - length, 0)
        return b"".join(content) if self._unpacked else block[:position]

    def connection_ended(self) -> None:
        raise BrokenAnswer("it closed the connection before the last chunk of its answer")


class UntilClosed:
    """All that comes. `in_chunks`: for a client that is to know where the end is; the last one is written elsewhere."""

    def __init__(self, in_chunks: bool) -> None:
        self._in_chunks = in_chunks
        self.over = False

    def take(self, block: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(block), block) if self._in_chunks else block

    def connection_ended(self) -> None:
        self.over = True


def _size(line: bytes) -> int:
    size = _CHUNK_SIZE.match(line)
    if size is None:
        raise BrokenAnswer("a chunk of its answer has no size")
    return int(size[0], 16)
