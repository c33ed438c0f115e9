"""Data that flows beside a call: request and response events of web endpoints, results of generators."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from modal_proto import api_pb2

HIGH_WATER = 16 * 1024 * 1024
"""Bytes that a stream holds before its writer has to wait."""


class DataStream:
    """One direction of one call: numbered chunks, written once, closed at the end."""

    def __init__(self, keep: bool) -> None:
        """`keep`: readers may come several times (generators); otherwise what was read is gone."""
        self._keep = keep
        self._chunks: deque[api_pb2.DataChunk] = deque()
        self._size = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.last_index = 0

    def append(self, chunk: api_pb2.DataChunk) -> None:
        """Chunks that come a second time, or after the end, are dropped."""
        if self._closed or (chunk.index and chunk.index <= self.last_index):
            return
        self.last_index = chunk.index = chunk.index or self.last_index + 1
        self._chunks.append(chunk)
        self._size += len(chunk.data)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def room(self) -> None:
        """Waits while a reader that takes what it reads lags far behind."""
        while not self._keep and not self._closed and self._size > HIGH_WATER:
            await self._changed.wait()

    async def after(self, index: int) -> AsyncIterator[api_pb2.DataChunk]:
        """Chunks with a higher index, in order, until the stream is closed."""
        while True:
            for chunk in [chunk for chunk in self._chunks if chunk.index > index]:
                index = chunk.index
                yield chunk
                if not self._keep:
                    self._drop(index)
            if self._closed and index >= self.last_index:
                return
            if not any(chunk.index > index for chunk in self._chunks):
                await self._changed.wait()

    def _drop(self, index: int) -> None:
        while self._chunks and self._chunks[0].index <= index:
            self._size -= len(self._chunks.popleft().data)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class CallStreams:
    """Both directions of one call."""

    def __init__(self, keep: bool) -> None:
        self.data_in = DataStream(keep=True)
        self.data_out = DataStream(keep)

    def close(self) -> None:
        self.data_in.close()
        self.data_out.close()
