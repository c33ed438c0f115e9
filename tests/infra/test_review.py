"""Reasons, efforts and forms of a review; whole ones are in tests/stack/golden."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.configuration import Change, Configuration, changes
from infra.review.durations import dollars, minutes
from infra.review.efforts import Effort, effort, new_version, with_what_follows
from infra.review.events import UNKNOWN, Step, read_events
from infra.review.reasons import reasons
from infra.review.table import Review, Row
from infra.settings import StackConfig
from tests.infra.test_policies import facts


def prod(**config: Any) -> Configuration:
    return facts("prod", **config).configuration


def why(step: Step, old: Configuration, new: Configuration) -> list[str]:
    return reasons(step, changes(old.to_json(), new.to_json()), new, new_stack=False)


def test_a_flag_of_the_stack_file_is_called_by_its_name_there() -> None:
    found = changes(prod().to_json(), prod(engineArgs={"max-running-requests": 64}).to_json())
    assert [str(change) for change in found] == ["engineArgs.max-running-requests 48 → 64"]


def test_every_key_of_a_stack_file_is_among_what_a_review_compares() -> None:
    told_otherwise = {"region": "capacity", "routingRegion": "capacity"}
    without_effect = {"allowColdStart503", "gpuSnapshot"}  # they let a configuration pass, or never do
    keys = {field.alias or name for name, field in StackConfig.model_fields.items()} - without_effect
    compared = {field.alias or name for name, field in Configuration.model_fields.items()}
    assert {told_otherwise.get(key, key) for key in keys} <= compared


def test_a_region_is_called_as_in_the_stack_file() -> None:
    (change,) = changes(prod().to_json(), prod(region=["eu"]).to_json())
    assert str(change) == "region none → eu"
    assert why(Step("app", "update", {"params": "1"}, {"params": "2"}), prod(), prod(region=["eu"])) == [str(change)]


def test_a_schedule_is_told_by_its_changes() -> None:
    hours = [{"cron": "0 8 * * MON-FRI", "minContainers": 1}, {"cron": "0 20 * * MON-FRI", "minContainers": 0}]
    found = changes(prod().to_json(), prod(schedule={"changes": hours}).to_json())
    assert "schedule.changes not set → 0 8 * * MON-FRI 1, 0 20 * * MON-FRI 0" in [str(change) for change in found]


def test_values_of_the_state_are_compared_as_numbers() -> None:
    old = json.loads(json.dumps(prod().to_json()), parse_int=float)  # as Pulumi keeps them
    assert changes(old, prod().to_json()) == []


def test_a_price_is_no_reason_for_a_new_version() -> None:
    old, new = prod(), prod()
    prices = new.recipe.prices.model_copy(update={"gpu_second": 0.002})
    new = new.model_copy(update={"recipe": new.recipe.model_copy(update={"prices": prices})})
    step = Step("pipeline", "update")
    assert why(step, old, new) == ["prices.gpuSecond 0.001736 → 0.002"]
    app = Step("app", "update", {"source": "a"}, {"source": "b"})
    assert why(app, old, new) == ["code in serving/ changed"]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (Step("weights", "update", outputs={"problems": ["a is missing", "b is missing"]}),
         "a is missing; b is missing"),
        (Step("app", "update", outputs={"liveVersion": 7.0, "version": 5.0}),
         "version 7 was deployed by hand, the stack's is 5"),
        (Step("app", "update", {"autoscaler": {"maxContainers": 9}}, {"autoscaler": {"maxContainers": 3}}),
         "maxContainers 9 → 3"),
        (Step("app", "update", {"attachments": {"apiSecret": "1"}}, {"attachments": {"apiSecret": UNKNOWN}}),
         "api-secret is written anew"),
        (Step("weights-volume", "create"), "not there, or gone"),
    ],
)  # fmt: skip
def test_what_no_setting_explains_was_found_to_differ(step: Step, told: str) -> None:
    assert why(step, prod(), prod()) == [told]


def test_scaling_alone_is_in_place_and_free() -> None:
    old, new = {"source": "a", "autoscaler": {"maxContainers": 3}}, {"source": "a", "autoscaler": {"maxContainers": 5}}
    outputs = {"version": 1, "liveVersion": 1}
    scaled = Step("app", "update", old, new, outputs)
    assert not new_version(scaled)
    assert effort(scaled, prod()) == Effort(word="in place")
    redeployed = Step("app", "update", old, {**new, "params": UNKNOWN}, outputs)
    assert new_version(redeployed)
    assert effort(redeployed, prod()).word == "new version"


def test_a_new_versions_smoke_test_is_foreseen() -> None:
    app = Step("app", "update", {"source": "a"}, {"source": "b"})
    steps = with_what_follows([app, Step("smoke-test", "none"), Step("weights", "none")])
    assert [step.kind for step in steps] == ["update", "update", "none"]


def test_events_are_read_as_far_as_they_go() -> None:
    urn = "urn:pulumi:s::p::glm-serving:index:LlmStack$pulumi-python:dynamic/modal:Volume::weights-volume"
    step = {"op": "create", "urn": urn, "type": "x", "old": None, "new": {"inputs": {"name": "w"}}}
    lines = [
        json.dumps({"resourcePreEvent": {"metadata": step}}),
        json.dumps({"diagnosticEvent": {"severity": "warning", "message": "warning: take care\n"}}),
        '{"resourcePreEvent": {"meta',
    ]
    preview = read_events(lines)
    assert [(found.name, found.kind) for found in preview.steps] == [("weights-volume", "create")]
    assert preview.messages == [("warning", "warning: take care")]
    assert preview.after is None


def test_a_comment_is_found_by_its_first_line_and_escapes_what_markdown_reads() -> None:
    review = Review("prod", "1 update", [Row("app", "update", [str(Change("a|b", 1, 2))], Effort())], ["weights"])
    text = review.as_markdown()
    assert text.startswith("<!-- review of prod -->\n")
    assert "a\\|b 1 → 2" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [((0, 0), "< 1 min"), ((60, 60), "1 min"), ((1890, 3780), "32–63 min"), ((4000, 9000), "1.1–2.5 h")],
)
def test_times(seconds: tuple[float, float], text: str) -> None:
    assert minutes(seconds) == text


@pytest.mark.parametrize(
    ("amounts", "text"),
    [((0, 0), "–"), ((0, 37.5), "$0.00–37.50"), ((23.33, 23.33), "$23.33"), ((900, 1100), "$900.00–1,100")],
)
def test_sums(amounts: tuple[float, float], text: str) -> None:
    assert dollars(amounts) == text


def test_a_branch_pinned_to_the_commit_it_stood_at_downloads_nothing() -> None:
    pinned = prod()
    model = pinned.recipe.model.model_copy(update={"revision": "a1" * 20})
    pinned = pinned.model_copy(update={"recipe": pinned.recipe.model_copy(update={"model": model})})
    assert effort(Step("weights", "replace", outputs={"commit": "a1" * 20}), pinned) == Effort()
    assert effort(Step("weights", "replace", outputs={"commit": "b2" * 20}), pinned).seconds[0] > 1000
