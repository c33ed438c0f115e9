"""An HTTP request on its way through a function container."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from modal_proto import api_pb2

from local.modal_cloud.calls.streams import CallStreams
from local.modal_cloud.records import Input, InputState


class WebCall:
    """Implements `seams.WebStream`."""

    def __init__(
        self,
        item: Input,
        streams: CallStreams,
        blob_file: Callable[[str], Path],
        abandon: Callable[[WebCall], None],
        goodbye: api_pb2.Asgi,
    ) -> None:
        self.call_id = item.call_id
        self.input_id = item.id
        self.item = item
        self.streams = streams
        self.goodbye = goodbye
        """What the container hears when the client goes away."""
        self._blob_file = blob_file
        self._abandon = abandon

    @property
    def result(self) -> api_pb2.GenericResult | None:
        return self.item.result

    @property
    def queued(self) -> bool:
        """Not taken by a container yet."""
        return self.item.state is InputState.QUEUED

    def send(self, event: api_pb2.Asgi) -> None:
        self.streams.data_in.append(
            api_pb2.DataChunk(data_format=api_pb2.DATA_FORMAT_ASGI, data=event.SerializeToString())
        )

    async def receive(self) -> AsyncIterator[api_pb2.Asgi]:
        async for chunk in self.streams.data_out.after(0):
            if chunk.WhichOneof("data_oneof") == "data_blob_id":
                data = await asyncio.to_thread(self._blob_file(chunk.data_blob_id).read_bytes)
            else:
                data = chunk.data
            yield api_pb2.Asgi.FromString(data)

    def abandon(self) -> None:
        self._abandon(self)
