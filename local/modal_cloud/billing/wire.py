from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from modal_proto import api_pb2

from local.modal_cloud.billing import prices
from local.modal_cloud.billing.state import Usage
from local.modal_cloud.clock import now
from local.modal_cloud.errors import Invalid
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_INTERVALS = {"d": 86400, "h": 3600}


class BillingWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def WorkspaceBillingRates(
        self, request: api_pb2.WorkspaceBillingRatesRequest, caller: Caller
    ) -> api_pb2.WorkspaceBillingRatesResponse:
        """USD an hour."""
        rates = {"cpu_hour_cost": prices.CPU_CORE_SECOND, "mem_gib_hour_cost": prices.MEMORY_GIB_SECOND}
        rates |= {f"gpu_hour_cost_{kind.lower()}": price for kind, price in prices.GPU_SECOND.items()}
        hourly = {name: str(3600 * price) for name, price in rates.items()}
        lines = [f"{name:<28} ${price}" for name, price in hourly.items()]
        return api_pb2.WorkspaceBillingRatesResponse(
            rates=hourly, formatted="\n".join([f"Modal's public prices of {prices.AS_OF}, USD an hour", *lines])
        )

    async def WorkspaceBillingReport(
        self, request: api_pb2.WorkspaceBillingReportRequest, caller: Caller
    ) -> AsyncIterator[api_pb2.WorkspaceBillingReportItem]:
        if request.resolution not in _INTERVALS:
            raise Invalid(f"the resolution must be 'd' or 'h', not '{request.resolution}'")
        start, end = request.start_timestamp.ToSeconds(), request.end_timestamp.ToSeconds()
        names = {environment.id: environment.name for environment in self._cloud.environments.all()}
        wanted = {names.get(environment_id) for environment_id in request.environment_ids}
        for usage in self._cloud.billing.in_intervals(start, end, _INTERVALS[request.resolution]):
            if (wanted and usage.app.environment not in wanted) or (
                request.app_ids and usage.app.id not in request.app_ids
            ):
                continue
            yield _item(usage, list(request.tag_names))

    async def WorkspaceBillingSummary(
        self, request: api_pb2.WorkspaceBillingSummaryRequest, caller: Caller
    ) -> api_pb2.WorkspaceBillingSummaryResponse:
        start, end, cost, breakdown = self._month(request.start_timestamp)
        return api_pb2.WorkspaceBillingSummaryResponse(
            start_timestamp=start,
            end_timestamp=end,
            metered_cost=str(cost),
            billed_cost=str(cost),
            metered_cost_breakdown=breakdown,
        )

    async def EnvironmentBillingSummary(
        self, request: api_pb2.EnvironmentBillingSummaryRequest, caller: Caller
    ) -> api_pb2.EnvironmentBillingSummaryResponse:
        name = next((each.name for each in self._cloud.environments.all() if each.id == request.environment_id), "")
        start, end, cost, breakdown = self._month(request.start_timestamp, name)
        return api_pb2.EnvironmentBillingSummaryResponse(
            start_timestamp=start, end_timestamp=end, metered_cost=str(cost), metered_cost_breakdown=breakdown
        )

    def _month(
        self, start: Timestamp, environment: str | None = None
    ) -> tuple[Timestamp, Timestamp, Decimal, dict[str, str]]:
        """The month from `start` on, to this second."""
        first = datetime.fromtimestamp(start.ToSeconds(), UTC)
        after = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
        stop = min(after.timestamp(), now())
        costs: dict[str, Decimal] = defaultdict(Decimal)
        for usage in self._cloud.billing.between(first.timestamp(), stop):
            if environment is None or usage.app.environment == environment:
                for resource, cost in usage.costs.items():
                    costs[resource] += cost
        return (
            start,
            Timestamp(seconds=int(after.timestamp())),
            sum(costs.values(), Decimal()),
            {resource: str(cost) for resource, cost in costs.items()},
        )


def _item(usage: Usage, tag_names: list[str]) -> api_pb2.WorkspaceBillingReportItem:
    app = usage.app
    return api_pb2.WorkspaceBillingReportItem(
        object_id=app.id,
        description=app.name or app.description,
        environment_name=app.environment,
        interval=Timestamp(seconds=usage.start),
        cost=str(usage.total),
        tags={name: value for name, value in app.tags.items() if "*" in tag_names or name in tag_names},
        cost_by_resource={resource: str(cost) for resource, cost in usage.costs.items()},
    )
