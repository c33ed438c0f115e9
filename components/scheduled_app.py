"""What the two small apps that the clock starts have in common as resources."""

from __future__ import annotations

from pulumi.dynamic import DiffResult, UpdateResult

from components import modal_api, ownership
from components.deployed_app import DeployedAppProvider
from components.dynamic import Properties, changed, compare, inputs_of, known, say

INPUTS = ("environment", "name", "params", "source", "autoscaler")


class ScheduledAppProvider(DeployedAppProvider):
    """Of an app whose `params` name the serving app (`servingApp`, `ingress`) and whose `autoscaler` is the configured
    one of that app.
    """

    INPUTS = INPUTS
    # A thousand runs of five seconds on the least of CPU and memory are $0.01 at Modal's prices of 2026-11-21.
    COSTS = "about a cent a month, no GPU"

    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        # In a preview of another version of the serving app its URL is unknown, but stays the same.
        update = [name for name in ("params", "source", "autoscaler") if known(news[name])]
        result = compare(olds, news, replace=("environment", "name"), update=update)
        result.changes = result.changes or olds["liveVersion"] != olds["version"]
        return result

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        if not changed(olds, news, ("params", "source")) and olds["liveVersion"] == olds["version"]:
            return UpdateResult({**olds, **inputs_of(news, INPUTS)})
        return UpdateResult(self._deploy(news, olds["owner"]))

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
