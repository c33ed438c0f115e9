from __future__ import annotations

from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class BlobsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def BlobCreate(self, request: api_pb2.BlobCreateRequest, caller: Caller) -> api_pb2.BlobCreateResponse:
        """One PUT whatever the size: there is no network in between that multipart uploads would help."""
        blob_id = self._cloud.blobs.create()
        url = self._cloud.http.blob_url(blob_id)
        return api_pb2.BlobCreateResponse(
            blob_id=blob_id,
            blob_ids=[blob_id],
            upload_url=url,
            upload_urls=api_pb2.UploadUrlList(items=[url]),
        )

    async def BlobGet(self, request: api_pb2.BlobGetRequest, caller: Caller) -> api_pb2.BlobGetResponse:
        self._cloud.blobs.file(request.blob_id)
        return api_pb2.BlobGetResponse(download_url=self._cloud.http.blob_url(request.blob_id))
