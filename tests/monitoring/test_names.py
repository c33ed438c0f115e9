"""Whatever a panel or a rule asks for is exported by somebody, under that name, and files that are made are as made."""

from __future__ import annotations

import json
import re

import yaml

from monitoring.dashboard import dashboard
from serving.engines.unanswered import UNANSWERED_METRIC
from serving.own_metrics import metrics_text
from tests.monitoring import names
from tests.monitoring.test_watched import Count, Stage

OF_PROMETHEUS = {"up", "ALERTS"}


def exported() -> set[str]:
    stage = Stage()
    supervisor = metrics_text("r1", {"load": 1.0}, {("orjson", "info"): 1})
    exporter = stage.look(Count(1, 1, 0)) + 'glm_serving_modal_answered{stack="prod"} 1\n'
    return names.of_sglang() | names.of_vllm() | names.samples_of(supervisor + exporter) | {UNANSWERED_METRIC}


def test_every_metric_of_a_panel_or_a_rule_is_exported() -> None:
    recorded = {rule["record"] for rule in names.rules() if "record" in rule}
    known = exported() | recorded | OF_PROMETHEUS
    queries = [
        *names.panel_queries(),
        *((rule.get("alert", rule.get("record")), rule["expr"]) for rule in names.rules()),
    ]
    assert len(queries) > 40
    asked: set[str] = set()
    for title, query in queries:
        found = names.metrics_in(query)
        assert found, (title, query)
        assert found <= known, (title, found - known)
        asked |= found
    # Both engines, the supervisor's metrics and all of the exporter's are looked at.
    assert {name for name in known if name.startswith("glm_serving")} <= asked | recorded
    assert len([name for name in asked if name.startswith("sglang:")]) > 10
    assert len([name for name in asked if name.startswith("vllm:")]) > 10


def test_names_are_found_in_queries() -> None:
    query = (
        '1 - sum by (stack, le) (rate(a:b_total{x=~"c_d.*",y="z"}[5m]) or up) > on (stack) scalar(day_of_month()) * ex'
    )
    assert names.metrics_in(query) == {"a:b_total", "up", "ex"}


def test_the_dashboard_is_the_one_that_is_made() -> None:
    """`python -m monitoring.dashboard > monitoring/dashboard.json` mends it."""
    assert names.dashboard() == json.loads(json.dumps(dashboard()))


def test_the_dashboards_grid_has_neither_holes_nor_overlaps_and_its_numbers_are_its_own() -> None:
    document = names.dashboard()
    numbers = [panel["id"] for panel in document["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)
    assert set(cells) == {(x, y) for x in range(24) for y in range(max(y for _, y in cells) + 1)}
    assert len({panel["title"] for panel in names.panels()}) == len(names.panels())
    for panel in names.panels():
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]
        assert panel["description"], panel["title"]


def test_every_alert_leads_to_a_panel_that_shows_what_it_is_about() -> None:
    panels = {panel["id"]: panel for panel in names.panels()}
    uid = names.dashboard()["uid"]
    for rule in names.rules():
        if "alert" not in rule:
            continue
        path, _, parameters = rule["annotations"]["panel"].partition("?")
        assert path == f"/d/{uid}"
        found = dict(part.split("=", 1) for part in parameters.split("&"))
        if names.metrics_in(rule["expr"]) - OF_PROMETHEUS:
            assert found.pop("var-stack") == "{{ $labels.stack }}", rule["alert"]
        panel = panels[int(found.pop("viewPanel"))]
        assert not found
        shown = {name for target in panel["targets"] for name in names.metrics_in(target["expr"])}
        assert shown & names.metrics_in(rule["expr"]), (rule["alert"], panel["title"])
        assert rule["alert"] in panel["description"], "the panel names the alerts that watch it"


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    documents = [yaml.safe_load((names.MONITORING / name).read_text(encoding="utf-8")) for name in names.RULE_TESTS]
    cases = [case for document in documents for test in document["tests"] for case in test["alert_rule_test"]]
    for rule in names.rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert set(rule["annotations"]) == {"summary", "next", "panel"}
            mine = [case for case in cases if case["alertname"] == rule["alert"]]
            assert any(case.get("exp_alerts") for case in mine), rule["alert"]
            assert any(not case.get("exp_alerts") for case in mine), rule["alert"]


def test_the_configuration_scrapes_the_exporter_and_holds_no_key() -> None:
    text = (names.MONITORING / "prometheus.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "glm-serving"
    assert job["honor_labels"] is True
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9187"]}]
    assert not re.search("authorization|bearer|password", text)
