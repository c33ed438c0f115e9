"""ModalVolume: a volume, created or taken over by name."""

from __future__ import annotations

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource

from components import modal_api
from components.dynamic import Properties, Provider, compare, inputs_of, say

INPUTS = ("environment", "name", "version")


class VolumeProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        return compare(olds, news, replace=INPUTS)

    def create(self, props: Properties) -> CreateResult:
        volume_id, is_new = modal_api.ensure_volume(props["environment"], props["name"], int(props["version"]))
        if not is_new:
            say(f"volume {props['name']}", "exists already, taken over with its content")
        return CreateResult(volume_id, {**inputs_of(props, INPUTS), "volumeId": volume_id})

    def read(self, id_: str, props: Properties) -> ReadResult:
        volume_id = modal_api.find_volume(props["environment"], props["name"])
        if volume_id is None:
            return ReadResult("", {})
        outs = {**inputs_of(props, INPUTS), "volumeId": volume_id}
        return ReadResult(volume_id, outs, inputs_of(props, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        modal_api.delete_volume(props["environment"], props["name"])


class ModalVolume(Resource, module="modal", name="Volume"):
    """Outputs: `name`, `volumeId`."""

    name: pulumi.Output[str]
    volumeId: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        name: str,
        version: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"environment": environment, "name": name, "version": version, "volumeId": None}
        super().__init__(VolumeProvider(), resource_name, props, opts)
