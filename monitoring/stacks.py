"""A deployed stack's part of what is watched: its settings, its outputs and Modal's own word on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.configuration import Configuration
from infra.stack_file import configuration_of
from infra.stack_outputs import stack_outputs
from monitoring.watched import Count, Watched, scraper

_ROOT = Path(__file__).resolve().parents[1]
_PROXY_TOKEN = {"Modal-Key": "MODAL_PROXY_KEY", "Modal-Secret": "MODAL_PROXY_SECRET"}


@dataclass
class DeployedApp:
    """The serving app of one stack, as Modal knows it. None of this starts a replica."""

    configuration: Configuration

    def count(self) -> Count | None:
        if self.configuration.ingress == "server":
            return None  # the SDK has no such call for it
        import modal

        from components.modal_api.serving import SERVER_CLASS, WEB_METHOD

        app, environment = self.configuration.recipe.app, self.configuration.environment
        served = getattr(modal.Cls.from_name(app, SERVER_CLASS, environment_name=environment)(), WEB_METHOD)
        stats = served.get_current_stats()
        return Count(stats.num_total_runners, stats.num_running_inputs, stats.backlog)

    def always_up(self) -> int:
        from components.modal_api.serving import read_autoscaler

        configuration = self.configuration
        app, environment = configuration.recipe.app, configuration.environment
        live = read_autoscaler(environment, app, configuration.ingress, ["minContainers"])
        return int(live["minContainers"])

    def spent(self, now: datetime) -> float | None:
        import modal

        from components.modal_api.apps import app_tags
        from serving.apps.owner import STACK_TAG
        from serving.schedule import month_of

        start, _ = month_of(now)
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        tag = (app_tags(self.configuration.environment, self.configuration.recipe.app) or {}).get(STACK_TAG)
        if tag is None:
            return None
        if end <= start:
            return 0.0
        billing = modal.Workspace.from_context().billing
        rows = billing.report(start=start, end=end, resolution="h", tag_names=[STACK_TAG])
        return float(sum(row.cost for row in rows if row.tags.get(STACK_TAG) == tag))


def watched_stack(stack: str, environ: Mapping[str, str] = os.environ) -> Watched:
    """Raises OutputsError, StackFileError or SettingsError."""
    configuration = configuration_of(stack, _ROOT)
    outputs = stack_outputs(stack, secrets=True)
    proxy = {header: environ[name] for header, name in _PROXY_TOKEN.items() if environ.get(name)}
    budget = configuration.budget
    limits = {} if budget is None else {"maxMonthlyUsd": budget.max_monthly_usd}
    if budget is not None and budget.scale_to_zero_at_usd is not None:
        limits["scaleToZeroAtUsd"] = budget.scale_to_zero_at_usd
    scrape = scraper(str(outputs["url"]).rstrip("/"), str(outputs["apiKey"]), proxy)
    return Watched(stack, DeployedApp(configuration), scrape, limits)
