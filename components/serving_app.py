"""ServingApp: the Modal app that serves the model.

Scaling settings that Modal can change on a running app are changed there, nothing restarts. Everything else is a new
version, brought up by the chosen strategy. A deploy resets overrides of the autoscaler, so it always carries the
configured scaling; where a schedule sets the count of warm replicas, with the count of that moment.
"""

from __future__ import annotations

import hashlib
import json
import time

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components import modal_api, ownership
from components.autoscaling import COUNT, holding
from components.deployed_app import another_version, gone
from components.dynamic import Properties, Provider, changed, compare, inputs_of, known, say
from components.scaling_schedule import withdraw

INPUTS = (
    "environment",
    "name",
    "ingress",
    "params",
    "source",
    "attachments",
    "autoscaler",
    "schedule",
    "artifacts",
    "strategy",
)
IDENTITY = ("environment", "name")
DEPLOYED = ("ingress", "params", "source", "attachments")


class ServingAppProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        result = compare(olds, news, replace=IDENTITY, update=(*DEPLOYED, "autoscaler", "schedule", "artifacts"))
        result.changes = result.changes or olds["liveVersion"] != olds["version"] or bool(olds.get("offSchedule"))
        if olds["ingress"] != news["ingress"]:
            say(
                f"app {news['name']}",
                f"another ingress is another URL: {olds['url']} answers no more once this is deployed. For a move "
                "without a gap bring up a second stack, with an app name of its own, and let clients change over",
            )
        if known(news["params"]) and _routing_region(olds) != _routing_region(news):
            # Modal fixes it with the first deploy of an app. The app is found by its name, so the old one goes first.
            result.changes, result.delete_before_replace = True, True
            result.replaces = [*(result.replaces or []), "params"]
        return result

    def create(self, props: Properties) -> CreateResult:
        environment, name, stack = props["environment"], props["name"], json.loads(props["params"])["stack"]
        before = modal_api.find_app(environment, name)
        if ownership.refuse_foreign_app(environment, name, stack) and before:
            say(f"app {name}", f"exists already, taken over: version {before.version} serves until ours is warm")
        outs = self._deploy(props, before.version if before else 0, ownership.new_token())
        return CreateResult(outs["appId"], outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        if olds.get("schedule") and not news["schedule"]:
            withdraw(news["environment"], news["name"])
        if changed(olds, news, DEPLOYED) or olds["liveVersion"] != olds["version"]:
            return UpdateResult(self._deploy(news, int(olds["adoptedVersion"]), olds["owner"]))
        name = news["name"]
        if changed(olds, news, ["autoscaler", "schedule"]) or olds.get("offSchedule"):
            autoscaler = holding(news["autoscaler"], news["schedule"])
            modal_api.update_autoscaler(news["environment"], name, news["ingress"], autoscaler)
            names = changed(olds["autoscaler"], news["autoscaler"], autoscaler)
            if changed(olds, news, ["schedule"]) or olds.get("offSchedule"):
                names = list(dict.fromkeys([COUNT, *names]))
            settings = ", ".join(f"{key} {autoscaler[key]}" for key in names)
            say(f"app {name}", f"autoscaler updated in place ({settings}), nothing restarts")
        if changed(olds, news, ["artifacts"]):
            say(f"app {name}", "weights or kernels were made anew: running replicas keep theirs, new ones load these")
        return UpdateResult({**olds, **inputs_of(news, INPUTS), "offSchedule": False})

    def read(self, id_: str, props: Properties) -> ReadResult:
        environment, name = props["environment"], props["name"]
        live = modal_api.find_app(environment, name)
        if live is None or live.app_id != props["appId"]:
            say(f"app {name}", gone(live))
            return ReadResult("", {})
        outs = {**props, "liveVersion": live.version}
        if live.version != props["version"]:
            # It may not even have this ingress; it is replaced by ours anyway, scaling included.
            say(f"app {name}", another_version(live, props))
        else:
            ours = holding(props["autoscaler"], props.get("schedule", ""))
            found = holding(modal_api.read_autoscaler(environment, name, props["ingress"], list(ours)), schedule="")
            # What the schedule has set is no drift: the state has the configured count. What differs from the schedule
            # is drift, be it the configured count itself.
            outs["offSchedule"] = bool(props.get("schedule")) and found[COUNT] != ours[COUNT]
            outs["autoscaler"] = found if found[COUNT] != ours[COUNT] else {**found, COUNT: props["autoscaler"][COUNT]}
            if by_hand := changed(ours, found, ours):
                settings = ", ".join(f"{key} {found[key]} instead of {ours[key]}" for key in by_hand)
                say(f"app {name}", f"the autoscaler was set by hand: {settings}")
        return ReadResult(id_, outs, inputs_of(outs, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        if ownership.app_taken_from(props["owner"], props["environment"], props["name"]):
            say(f"app {props['name']}", "is in use again, kept")
        else:
            modal_api.stop_app(props["environment"], props["name"])

    def _deploy(self, props: Properties, adopted_version: int, owner: str) -> Properties:
        from serving.params import PARAMS_VARIABLE

        environment, name = props["environment"], props["name"]
        before = modal_api.find_app(environment, name)
        params = json.loads(props["params"])
        params["scaling"] = {**params["scaling"], **holding(props["autoscaler"], props["schedule"])}
        # Reports of starting replicas are filed under the release, so each deploy needs a name of its own.
        digest = hashlib.sha256(json.dumps([params, props["source"]], sort_keys=True).encode()).hexdigest()
        params["owner"] = owner
        params["release"] = f"{digest[:12]}-{time.time():.0f}"
        live = modal_api.deploy_app(
            "serving.apps.server", json.dumps(params), PARAMS_VARIABLE, environment, props["strategy"]
        )
        if before is None:
            say(f"app {name}", f"version {live.version} deployed")
        elif props["strategy"] == "recreate":
            say(f"app {name}", f"version {live.version} deployed, the replicas of {before.version} were ended")
        else:
            say(f"app {name}", f"version {live.version} deployed, {before.version} serves until its replicas are warm")
        return {
            **inputs_of(props, INPUTS),
            "appId": live.app_id,
            "version": live.version,
            "liveVersion": live.version,
            "adoptedVersion": adopted_version,
            "release": params["release"],
            "owner": owner,
            "offSchedule": False,
            "url": modal_api.serving_url(environment, name, props["ingress"]),
        }


def _routing_region(props: Properties) -> str:
    return json.loads(props["params"]).get("routingRegion") or "us-east"


class ServingApp(Resource, module="modal", name="ServingApp"):
    """Outputs: `url`, `appId`, `version` (deployed by this stack), `liveVersion` (seen by the last refresh),
    `adoptedVersion` (live before this stack's first; 0 for none), `release` (under which its replicas report).
    """

    name: pulumi.Output[str]
    url: pulumi.Output[str]
    appId: pulumi.Output[str]
    version: pulumi.Output[int]
    liveVersion: pulumi.Output[int]
    adoptedVersion: pulumi.Output[int]
    release: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        name: str,
        ingress: str,
        params: pulumi.Input[str],
        source: str,
        attachments: dict[str, pulumi.Input[str]],
        autoscaler: dict[str, int],
        schedule: str,
        artifacts: dict[str, pulumi.Input[str]],
        strategy: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`params` is serving.params.ServerParams as JSON, without `release`; `attachments` are the ids of volumes and
        generations of secrets that a version is bound to; `autoscaler` has keys of modal_api.AUTOSCALER_KEYS, and
        `schedule` sets its count of warm replicas by the clock (autoscaling.schedule_text);
        `artifacts` names what the replicas load, by digest.
        """
        props = {
            "environment": environment,
            "name": name,
            "ingress": ingress,
            "params": params,
            "source": source,
            "attachments": attachments,
            "autoscaler": autoscaler,
            "schedule": schedule,
            "artifacts": artifacts,
            "strategy": strategy,
        }
        outputs = ("url", "appId", "version", "liveVersion", "adoptedVersion", "release", "owner", "offSchedule")
        super().__init__(ServingAppProvider(), resource_name, {**props, **dict.fromkeys(outputs)}, opts)
