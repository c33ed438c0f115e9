"""ApiKey: the bearer key of the served API, generated once and kept in the stack's encrypted state."""

from __future__ import annotations

import secrets

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource

from components.dynamic import Properties, Provider, compare


class ApiKeyProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        return compare(olds, news, replace=("rotation",))

    def create(self, props: Properties) -> CreateResult:
        # The prefix keeps the key from starting with a dash, which SGLang's argument parser takes for an option.
        key = f"sk-{secrets.token_urlsafe(32)}"
        return CreateResult(secrets.token_hex(8), {"rotation": props["rotation"], "value": key})


class ApiKey(Resource, module="modal", name="ApiKey"):
    """Output: `value`, `sk-` and 32 random bytes in URL-safe base64, secret. Another `rotation` makes another key."""

    value: pulumi.Output[str]

    def __init__(self, resource_name: str, *, rotation: int, opts: pulumi.ResourceOptions | None = None) -> None:
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["value"]))
        super().__init__(ApiKeyProvider(), resource_name, {"rotation": rotation, "value": None}, opts)
