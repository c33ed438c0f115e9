"""What the two small apps that the clock starts have in common as resources."""

from __future__ import annotations

import json

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, UpdateResult

from components import modal_api, ownership
from components.dynamic import Properties, Provider, changed, compare, inputs_of, known, say
from components.pipeline_app import another_version, gone

INPUTS = ("environment", "name", "params", "source", "autoscaler")
OUTPUTS = ("appId", "version", "liveVersion", "owner")


class ScheduledAppProvider(Provider):
    """Of an app whose `params` name the serving app (`servingApp`, `ingress`) and whose `autoscaler` is the configured
    one of that app.
    """

    MODULE: str
    """Of the package `serving.apps`."""

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        # In a preview of another version of the serving app its URL is unknown, but stays the same.
        update = [name for name in ("params", "source", "autoscaler") if known(news[name])]
        result = compare(olds, news, replace=("environment", "name"), update=update)
        result.changes = result.changes or olds["liveVersion"] != olds["version"]
        return result

    def create(self, props: Properties) -> CreateResult:
        if ownership.refuse_foreign_app(props["environment"], props["name"], json.loads(props["params"])["stack"]):
            say(f"app {props['name']}", "exists already, taken over")
        outs = self._deploy(props, ownership.new_token())
        return CreateResult(outs["appId"], outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        if not changed(olds, news, ("params", "source")) and olds["liveVersion"] == olds["version"]:
            return UpdateResult({**olds, **inputs_of(news, INPUTS)})
        return UpdateResult(self._deploy(news, olds["owner"]))

    def read(self, id_: str, props: Properties) -> ReadResult:
        live = modal_api.find_app(props["environment"], props["name"])
        if live is None or live.app_id != props["appId"]:
            say(f"app {props['name']}", gone(live))
            return ReadResult("", {})
        if live.version != props["version"]:
            say(f"app {props['name']}", another_version(live, props))
        return ReadResult(id_, {**props, "liveVersion": live.version}, inputs_of(props, INPUTS))

    def _stop(self, props: Properties) -> bool:
        """False where it has been stopped before, or is another resource's by now."""
        name, environment = props["name"], props["environment"]
        if ownership.app_taken_from(props["owner"], environment, name):
            say(f"app {name}", "is in use again, kept")
            return False
        if modal_api.find_app(environment, name) is None:
            return False
        modal_api.stop_app(environment, name)
        return True

    def _deploy(self, props: Properties, owner: str) -> Properties:
        from serving.params import PARAMS_VARIABLE

        params = json.dumps({**json.loads(props["params"]), "owner": owner})
        module = f"serving.apps.{self.MODULE}"
        live = modal_api.deploy_app(module, params, PARAMS_VARIABLE, props["environment"], "rolling")
        # A thousand runs of five seconds on the least of CPU and memory are $0.01 at Modal's prices of 2026-11-21.
        say(f"app {props['name']}", f"version {live.version} deployed; about a cent a month, no GPU")
        outs = {"owner": owner, "appId": live.app_id, "version": live.version, "liveVersion": live.version}
        return {**inputs_of(props, INPUTS), **outs}
