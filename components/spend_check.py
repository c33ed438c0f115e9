"""SpendCheck: an hourly look at what the month has cost, from a small Modal app of its own (serving/apps/spend.py)."""

from __future__ import annotations

import json

import pulumi
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components import modal_api
from components.dynamic import Properties, say
from components.scheduled_app import INPUTS, OUTPUTS, ScheduledAppProvider

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
        name: str,
        params: pulumi.Input[str],
        source: str,
        autoscaler: dict[str, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`params` is serving.clockwork.SpendParams as JSON."""
        props = dict(zip(INPUTS, (environment, name, params, source, autoscaler), strict=True))
        super().__init__(SpendCheckProvider(), resource_name, {**props, **dict.fromkeys(OUTPUTS)}, opts)
