from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.environments.state import DEFAULT
from local.modal_cloud.environments.wire import IMAGE_BUILDER_VERSION
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

WORKSPACE = "local"


class WorkspaceWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def WorkspaceNameLookup(self, request: Empty, caller: Caller) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name=WORKSPACE, username=WORKSPACE)

    async def WorkspaceSettings(self, request: Empty, caller: Caller) -> api_pb2.WorkspaceSettingsResponse:
        return api_pb2.WorkspaceSettingsResponse(
            default_environment_name=DEFAULT, image_builder_version=IMAGE_BUILDER_VERSION
        )

    async def TokenInfoGet(self, request: api_pb2.TokenInfoGetRequest, caller: Caller) -> api_pb2.TokenInfoGetResponse:
        return api_pb2.TokenInfoGetResponse(
            token_id=self._cloud.token_id,
            workspace_id="ac-local",
            workspace_name=WORKSPACE,
            user_identity=api_pb2.UserIdentity(user_id="us-local", username=WORKSPACE),
            token_name=WORKSPACE,
        )

    async def ClientHello(self, request: Empty, caller: Caller) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse(image_builder_version=IMAGE_BUILDER_VERSION)

    async def AuthTokenGet(self, request: api_pb2.AuthTokenGetRequest, caller: Caller) -> api_pb2.AuthTokenGetResponse:
        return api_pb2.AuthTokenGetResponse(token=_unsigned_jwt({"sub": self._cloud.token_id, "exp": 2**33}))


def _unsigned_jwt(claims: dict[str, object]) -> str:
    """The SDK looks when it expires, and nothing here trusts it: calls are authenticated by the token itself."""
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
