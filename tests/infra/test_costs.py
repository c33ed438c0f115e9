"""The sums of a month and of a cut-over, beside the guide's figures."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from components.modal_rates import RATES_VARIABLE, Rates, ask_modal, priced, rates_from, read_rates
from infra.configuration import Configuration
from infra.costs import STRATEGIES, cut_over, least_and_most_an_hour, month, replica_hour
from tests.infra.test_policies import facts

TODAY = date(2026, 11, 21)
HOURS = [{"cron": "0 8 * * MON-FRI", "minContainers": 1}, {"cron": "0 20 * * MON-FRI", "minContainers": 0}]


def configuration(stack: str = "prod", **config: Any) -> Configuration:
    return facts(stack, **config).configuration


@pytest.mark.parametrize(
    ("strategy", "guide"), [("scale to zero", 12_000), ("business hours", 18_000), ("always on", 36_000)]
)
def test_strategies_cost_what_the_guide_says(strategy: str, guide: float) -> None:
    assert STRATEGIES[strategy][0] * replica_hour(configuration()) == pytest.approx(guide, rel=0.03)


def test_a_node_of_h200_costs_what_the_other_guide_says() -> None:
    assert replica_hour(configuration("glm52")) == pytest.approx(36.31, abs=0.01)


def test_what_is_warm_costs_without_a_request_and_holds_requests_for_nothing_more() -> None:
    cold, always = configuration(), configuration(scaling={"minContainers": 1, "maxContainers": 3})
    assert month(cold, TODAY).idle == 0
    assert month(always, TODAY).idle == month(always, TODAY).expected == pytest.approx(730.5 * replica_hour(always))
    by_schedule = month(configuration(schedule={"changes": HOURS}), TODAY)
    assert by_schedule.warm_hours == pytest.approx(12 * 261 / 12, abs=1)  # the weekdays of those twelve months
    assert by_schedule.idle == by_schedule.expected


def test_the_guides_pings_cost_its_business_hours() -> None:
    pinged = month(configuration(keepWarm={"timezone": "Europe/Berlin"}), TODAY)
    assert pinged.expected == pytest.approx(18_000, rel=0.05)


def test_a_region_raises_the_hour_and_the_month() -> None:
    assert replica_hour(configuration(region=["eu"])) == pytest.approx(1.5 * replica_hour(configuration()))


def test_a_cut_over_runs_both_for_a_start() -> None:
    over = cut_over(configuration(scaling={"minContainers": 2, "maxContainers": 3}))
    assert (over.before, over.extra, over.seconds) == ((2, 3), (2, 3), (480, 900))
    assert over.dollars == pytest.approx((2 * 480 / 3600 * 50, 3 * 900 / 3600 * 50), rel=0.001)
    assert cut_over(configuration()).dollars[0] == 0  # nothing of the old one runs at rest


def test_least_and_most_an_hour() -> None:
    assert least_and_most_an_hour(configuration()) == pytest.approx((0, 150), rel=0.001)


LISTED = {"gpu_hour_cost_b200": "7.00", "gpu_hour_cost_h200": "4.54", "cpu_hour_cost": "0.0473",
          "mem_gib_hour_cost": "0.008", "volume_storage_gib_month_cost": "0.09"}  # fmt: skip


def test_modals_own_rates_take_the_place_of_the_recipes() -> None:
    recipe = priced(configuration().recipe, read_rates(LISTED, "2026-12-01"))
    assert 3600 * recipe.gpu.count * recipe.prices.gpu_second == pytest.approx(56)
    assert recipe.prices.as_of == "2026-12-01"


def test_a_gpu_that_modal_does_not_list_keeps_its_price() -> None:
    rates = read_rates({**LISTED, "gpu_hour_cost_b200": "7"}, "2026-12-01")
    bare = rates.model_copy(update={"gpu": {"H100": 3.95}})
    assert priced(configuration().recipe, bare) == configuration().recipe


def test_rates_travel_to_other_processes_of_a_preview() -> None:
    rates = read_rates(LISTED, "2026-12-01")
    assert rates_from({RATES_VARIABLE: rates.model_dump_json(by_alias=True)}) == rates
    assert rates_from({}) is None
    assert rates_from({RATES_VARIABLE: "{"}) is None


def test_without_an_answer_from_modal_the_reason_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")
    answer = ask_modal(seconds=0.2)
    assert not isinstance(answer, Rates)
    assert "did not answer" in answer


def test_what_goes_on_during_a_cut_over_costs_what_it_did() -> None:
    """From B200 to H200 the old replicas are the dear ones."""
    new, old = configuration("h200"), configuration()
    assert cut_over(new, old).dollars[1] == pytest.approx(3 * 900 / 3600 * 50, rel=0.001)
