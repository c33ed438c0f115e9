"""ApiKey: the bearer key of the served API, kept in the stack's encrypted state.

Generated once, unless one is given. A key that was given stays when it is given no longer: whoever types `pulumi up`
without the variable that held it must not lock out every client.
"""

from __future__ import annotations

import secrets

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components.dynamic import Properties, Provider, compare


class ApiKeyProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        result = compare(olds, news, replace=("rotation",))
        result.changes = result.changes or news.get("given") not in (None, olds["value"])
        return result

    def create(self, props: Properties) -> CreateResult:
        # The prefix keeps the key from starting with a dash, which SGLang's argument parser takes for an option.
        value = props.get("given") or f"sk-{secrets.token_urlsafe(32)}"
        return CreateResult(secrets.token_hex(8), {"rotation": props["rotation"], "value": value})

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult({"rotation": news["rotation"], "value": news.get("given") or olds["value"]})


class ApiKey(Resource, module="modal", name="ApiKey"):
    """Output: `value`, secret: the key `given`, or `sk-` and 32 random bytes in URL-safe base64, of which another
    `rotation` makes another.
    """

    value: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        rotation: int,
        given: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        secret = None if given is None else pulumi.Output.secret(given)
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["value", "given"]))
        super().__init__(ApiKeyProvider(), resource_name, {"rotation": rotation, "given": secret, "value": None}, opts)
