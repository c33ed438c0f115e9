"""SpendCheck: an hourly look at what the month has cost, from a small Modal app of its own (serving/apps/spend.py)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import pulumi
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components import modal_api
from components.deployed_app import OUTPUTS
from components.dynamic import Properties, say
from components.scheduled_app import INPUTS, ScheduledAppProvider

if TYPE_CHECKING:
    from serving.budget import Budget
    from serving.params import Scaling
    from serving.schedule import Schedule

FUNCTION = "check_spend"


def name_of(serving_app: str) -> str:
    return f"{serving_app}-spend"


class SpendCheckProvider(ScheduledAppProvider):
    MODULE = "spend"

    def create(self, props: Properties) -> CreateResult:
        created = super().create(props)
        self._check_now(props)
        return created

    def update(self, id_: str, olds: Properties, news: Properties) -> UpdateResult:
        updated = super().update(id_, olds, news)
        # A raised sum lifts what it held; a lowered one holds at once.
        self._check_now(news)
        return updated

    def delete(self, _id: str, props: Properties) -> None:
        if self._stop(props):
            modal_api.delete_dict(props["environment"], name_of(json.loads(props["params"])["servingApp"]))

    def _check_now(self, props: Properties) -> None:
        modal_api.spawn(props["environment"], props["name"], FUNCTION, {})
        say(f"app {props['name']}", f"checks now and hourly; what it finds: modal app logs {props['name']}")


class SpendCheck(Resource, module="modal", name="SpendCheck"):
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
        budget: Budget,
        scaling: Scaling,
        schedule: Schedule | None,
        autoscaler: dict[str, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`scaling` and `schedule` are what holds again when the month is over."""
        from components.source_digest import source_digest
        from serving.clockwork import SpendParams

        name = name_of(serving_app)
        params = SpendParams(
            app=name,
            stack=stack,
            serving_app=serving_app,
            ingress=ingress,
            budget=budget,
            scaling=scaling,
            schedule=schedule,
        )
        source = source_digest("serving.apps.spend")
        props = dict(zip(INPUTS, (environment, name, params.to_text(), source, autoscaler), strict=True))
        super().__init__(SpendCheckProvider(), resource_name, {**props, **dict.fromkeys(OUTPUTS)}, opts)
