"""PipelineApp: the Modal app whose functions download, compile and verify."""

from __future__ import annotations

import json

import pulumi
from pulumi.dynamic import DiffResult, Resource, UpdateResult

from components import modal_api, ownership
from components.deployed_app import OUTPUTS, DeployedAppProvider
from components.dynamic import Properties, compare, say


class PipelineAppProvider(DeployedAppProvider):
    MODULE = "pipeline"
    INPUTS = ("environment", "name", "params", "source", "attachments")

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        result = compare(olds, news, replace=("environment", "name"), update=("params", "source", "attachments"))
        result.changes = result.changes or olds["liveVersion"] != olds["version"]
        return result

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult(self._deploy(news, olds["owner"]))

    def delete(self, _id: str, props: Properties) -> None:
        if ownership.app_taken_from(props["owner"], props["environment"], props["name"]):
            say(f"app {props['name']}", "is in use again, kept")
            return
        modal_api.stop_app(props["environment"], props["name"])
        modal_api.delete_dict(props["environment"], json.loads(props["params"])["jobsDict"])


class PipelineApp(Resource, module="modal", name="PipelineApp"):
    """Outputs: `name`, `appId`, `version` (deployed by this stack), `liveVersion` (seen by the last refresh)."""

    name: pulumi.Output[str]
    appId: pulumi.Output[str]
    version: pulumi.Output[int]
    liveVersion: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        name: str,
        params: str,
        source: str,
        attachments: dict[str, pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`params` is serving.params.PipelineParams as JSON; `source` the digest of the code that is shipped;
        `attachments` are the ids of volumes and generations of secrets that a version is bound to.
        """
        props = {
            "environment": environment,
            "name": name,
            "params": params,
            "source": source,
            "attachments": attachments,
        }
        super().__init__(
            PipelineAppProvider(),
            resource_name,
            {**props, **dict.fromkeys(OUTPUTS)},
            opts,
        )
