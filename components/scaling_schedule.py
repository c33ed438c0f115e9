"""ScalingSchedule: warm replicas by the clock, set from a small Modal app of its own (serving/apps/schedule.py).

Each deploy of the serving app carries the count of its moment (components/serving_app.py), so that nothing waits for
the next change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import pulumi
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components import modal_api
from components.autoscaling import COUNT, holding
from components.deployed_app import OUTPUTS
from components.dynamic import Properties, say
from components.scheduled_app import INPUTS, ScheduledAppProvider

if TYPE_CHECKING:
    from serving.schedule import KeepWarm, Schedule


def name_of(serving_app: str) -> str:
    return f"{serving_app}-schedule"


def withdraw(environment: str, serving_app: str) -> None:
    """Ends a schedule before the configured scaling is applied again, so that no change comes in between."""
    modal_api.stop_app(environment, name_of(serving_app))


class ScalingScheduleProvider(ScheduledAppProvider):
    MODULE = "schedule"

    def create(self, props: Properties) -> CreateResult:
        created = super().create(props)
        _apply_now(props)
        return created

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        updated = super().update(id_, olds, news)
        _apply_now(news)
        return updated

    def delete(self, _id: str, props: Properties) -> None:
        params = json.loads(props["params"])
        app = params["servingApp"]
        # Where the serving app has withdrawn the schedule itself, it has newer settings than these.
        if not self._stop(props) or not params.get("schedule"):
            return
        try:
            modal_api.update_autoscaler(
                props["environment"], app, params["ingress"], holding(props["autoscaler"], schedule="")
            )
        except modal_api.Absent:
            return
        say(f"app {props['name']}", f"stopped, {app} has its configured scaling again")


def _apply_now(props: Properties) -> None:
    """A change may have come since the serving app was deployed with the count of that moment: a smoke test takes its
    time, and there was no app yet, or the one of the schedule before.
    """
    params = json.loads(props["params"])
    if params.get("schedule"):
        count = holding(props["autoscaler"], json.dumps(params["schedule"]))[COUNT]
        modal_api.update_autoscaler(props["environment"], params["servingApp"], params["ingress"], {COUNT: count})
        say(f"app {props['name']}", f"{COUNT} {count} by the schedule, as of now")


class ScalingSchedule(Resource, module="modal", name="ScalingSchedule"):
    """Outputs: `name`, `appId`, `version` (deployed by this stack), `liveVersion` (seen by the last refresh)."""

    name: pulumi.Output[str]
    appId: pulumi.Output[str]
    version: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        serving_app: str,
        stack: str,
        ingress: Literal["web", "server"],
        schedule: Schedule | None,
        keep_warm: KeepWarm | None,
        url: pulumi.Output[str],
        autoscaler: dict[str, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`autoscaler`, with keys of modal_api.AUTOSCALER_KEYS, is what is restored when the schedule goes; `url` is
        what `keep_warm` asks for its health.
        """
        from components.source_digest import source_digest
        from serving.clockwork import ScheduleParams

        name = name_of(serving_app)

        def params(url: str) -> str:
            return ScheduleParams(
                app=name,
                stack=stack,
                serving_app=serving_app,
                ingress=ingress,
                schedule=schedule,
                min_containers=autoscaler["minContainers"],
                keep_warm=keep_warm,
                url=url,
            ).to_text()

        told = url.apply(params) if keep_warm else params("")
        source = source_digest("serving.apps.schedule")
        props = dict(zip(INPUTS, (environment, name, told, source, autoscaler), strict=True))
        super().__init__(ScalingScheduleProvider(), resource_name, {**props, **dict.fromkeys(OUTPUTS)}, opts)
