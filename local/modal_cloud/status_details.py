"""What a gRPC error carries besides its message, such as Modal's request to try again later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from grpclib import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from modal_proto import api_pb2


class StatusDetails(StatusDetailsCodecBase):
    """Writes them as the SDK reads them: an `RPCStatus` with packed messages of Modal's own."""

    def encode(self, status: Status, message: str | None, details: Sequence[Message] | None) -> bytes:
        document = api_pb2.RPCStatus(code=status.value, message=message or "")
        for detail in details or ():
            document.details.add().Pack(detail, type_url_prefix="type.modal.com/")
        return document.SerializeToString()

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        """Servers only write."""
        raise NotImplementedError
