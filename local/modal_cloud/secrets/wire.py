from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.naming import CREATED_BY, page
from local.modal_cloud.records import Secret
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class SecretsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def SecretGetOrCreate(
        self, request: api_pb2.SecretGetOrCreateRequest, caller: Caller
    ) -> api_pb2.SecretGetOrCreateResponse:
        secret = self._cloud.secrets.get_or_create(
            self._cloud.environment_of(request.environment_name, caller),
            request.deployment_name,
            request.object_creation_type,
            dict(request.env_dict),
            list(request.required_keys),
            request.app_id,
        )
        return api_pb2.SecretGetOrCreateResponse(secret_id=secret.id, metadata=_metadata(secret))

    async def SecretUpdate(self, request: api_pb2.SecretUpdateRequest, caller: Caller) -> Empty:
        updates = {update.key: update.value if update.HasField("value") else None for update in request.updates}
        self._cloud.secrets.update(request.secret_id, updates)
        return Empty()

    async def SecretList(self, request: api_pb2.SecretListRequest, caller: Caller) -> api_pb2.SecretListResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        secrets = page(self._cloud.secrets.named(environment), lambda secret: secret.created_at, request.pagination)
        return api_pb2.SecretListResponse(
            environment_name=environment,
            items=[
                api_pb2.SecretListItem(
                    label=secret.name,
                    secret_id=secret.id,
                    created_at=secret.created_at,
                    last_used_at=secret.last_used_at or 0,
                    environment_name=environment,
                    metadata=_metadata(secret),
                )
                for secret in secrets
            ],
        )

    async def SecretGetInfo(
        self, request: api_pb2.SecretGetInfoRequest, caller: Caller
    ) -> api_pb2.SecretGetInfoResponse:
        return api_pb2.SecretGetInfoResponse(metadata=_metadata(self._cloud.secrets.get(request.secret_id)))

    async def SecretDelete(self, request: api_pb2.SecretDeleteRequest, caller: Caller) -> Empty:
        self._cloud.secrets.delete(request.secret_id)
        return Empty()


def _metadata(secret: Secret) -> api_pb2.SecretMetadata:
    return api_pb2.SecretMetadata(
        name=secret.name,
        creation_info=api_pb2.CreationInfo(created_at=secret.created_at, created_by=CREATED_BY),
        keys=sorted(secret.values),
        environment_name=secret.environment,
        last_used_at=secret.last_used_at or 0,
    )
