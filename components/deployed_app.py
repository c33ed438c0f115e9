"""What the stack's smaller apps have in common as resources: the pipeline's, and the two that the clock starts."""

from __future__ import annotations

import json

from pulumi.dynamic import CreateResult, ReadResult

from components import modal_api, ownership
from components.dynamic import Properties, Provider, inputs_of, say

OUTPUTS = ("appId", "version", "liveVersion", "owner")


class DeployedAppProvider(Provider):
    """Of an app that is deployed from `params` (JSON, with the `stack` that owns it) and takes over where one is."""

    MODULE: str
    """Of the package `serving.apps`."""
    INPUTS: tuple[str, ...]
    """With `environment`, `name` and `params`."""
    COSTS = ""
    """What running it costs, said at each deploy."""

    def create(self, props: Properties) -> CreateResult:
        if ownership.refuse_foreign_app(props["environment"], props["name"], json.loads(props["params"])["stack"]):
            say(f"app {props['name']}", "exists already, taken over")
        outs = self._deploy(props, ownership.new_token())
        return CreateResult(outs["appId"], outs)

    def read(self, id_: str, props: Properties) -> ReadResult:
        live = modal_api.find_app(props["environment"], props["name"])
        if live is None or live.app_id != props["appId"]:
            say(f"app {props['name']}", gone(live))
            return ReadResult("", {})
        if live.version != props["version"]:
            say(f"app {props['name']}", another_version(live, props))
        return ReadResult(id_, {**props, "liveVersion": live.version}, inputs_of(props, self.INPUTS))

    def _deploy(self, props: Properties, owner: str) -> Properties:
        from serving.params import PARAMS_VARIABLE

        params = json.dumps({**json.loads(props["params"]), "owner": owner})
        module = f"serving.apps.{self.MODULE}"
        live = modal_api.deploy_app(module, params, PARAMS_VARIABLE, props["environment"], "rolling")
        if self.COSTS:
            say(f"app {props['name']}", f"version {live.version} deployed; {self.COSTS}")
        outs = {"owner": owner, "appId": live.app_id, "version": live.version, "liveVersion": live.version}
        return {**inputs_of(props, self.INPUTS), **outs}


def gone(live: modal_api.LiveApp | None) -> str:
    """What a refresh says of an app that is not there, or that somebody has deployed after having stopped it."""
    return "is stopped" if live is None else "was stopped and deployed anew by hand"


def another_version(live: modal_api.LiveApp, props: Properties) -> str:
    return (
        f"version {live.version} is live, deployed or rolled back to by hand; this stack deployed version "
        f"{props['version']:.0f} and will deploy it again"
    )
