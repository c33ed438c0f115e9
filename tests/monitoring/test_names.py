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

OF_PROMETHEUS = {"up"}


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


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    documents = [yaml.safe_load((names.MONITORING / name).read_text(encoding="utf-8")) for name in names.RULE_TESTS]
    cases = [case for document in documents for test in document["tests"] for case in test["alert_rule_test"]]
    for rule in names.rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert set(rule["annotations"]) == {"summary", "next"}
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
