"""PipelineApp: the Modal app whose functions download, compile and verify."""

from __future__ import annotations

import json

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components import modal_api, ownership
from components.dynamic import Properties, Provider, compare, inputs_of, say

INPUTS = ("environment", "name", "params", "source", "attachments")


class PipelineAppProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        result = compare(olds, news, replace=("environment", "name"), update=("params", "source", "attachments"))
        result.changes = result.changes or olds["liveVersion"] != olds["version"]
        return result

    def create(self, props: Properties) -> CreateResult:
        if ownership.refuse_foreign_app(props["environment"], props["name"], json.loads(props["params"])["stack"]):
            say(f"app {props['name']}", "exists already, taken over")
        outs = self._deploy(props, ownership.new_token())
        return CreateResult(outs["appId"], outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult(self._deploy(news, olds["owner"]))

    def read(self, id_: str, props: Properties) -> ReadResult:
        live = modal_api.find_app(props["environment"], props["name"])
        if live is None or live.app_id != props["appId"]:
            say(f"app {props['name']}", gone(live))
            return ReadResult("", {})
        if live.version != props["version"]:
            say(f"app {props['name']}", another_version(live, props))
        return ReadResult(id_, {**props, "liveVersion": live.version}, inputs_of(props, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        if ownership.app_taken_from(props["owner"], props["environment"], props["name"]):
            say(f"app {props['name']}", "is in use again, kept")
            return
        modal_api.stop_app(props["environment"], props["name"])
        modal_api.delete_dict(props["environment"], json.loads(props["params"])["jobsDict"])

    def _deploy(self, props: Properties, owner: str) -> Properties:
        from serving.params import PARAMS_VARIABLE

        params = json.dumps({**json.loads(props["params"]), "owner": owner})
        live = modal_api.deploy_app("serving.apps.pipeline", params, PARAMS_VARIABLE, props["environment"], "rolling")
        outs = {"owner": owner, "appId": live.app_id, "version": live.version, "liveVersion": live.version}
        return {**inputs_of(props, INPUTS), **outs}


def gone(live: modal_api.LiveApp | None) -> str:
    """What a refresh says of an app that is not there, or that somebody has deployed after having stopped it."""
    return "is stopped" if live is None else "was stopped and deployed anew by hand"


def another_version(live: modal_api.LiveApp, props: Properties) -> str:
    return (
        f"version {live.version} is live, deployed or rolled back to by hand; this stack deployed version "
        f"{props['version']:.0f} and will deploy it again"
    )


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
            {**props, **dict.fromkeys(("appId", "version", "liveVersion", "owner"))},
            opts,
        )
