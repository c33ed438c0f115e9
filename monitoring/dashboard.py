"""The Grafana dashboard of a stack: its panels as a table here, its JSON beside it.

python -m monitoring.dashboard > monitoring/dashboard.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_STACK = 'stack=~"$stack"'
_WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of it."""
    queries: tuple[tuple[str, str], ...]
    """Legend and PromQL; `S` stands for the chosen stacks, `W` for the window of a rate."""
    about: str = ""


def _either(sglang: str, vllm: str) -> str:
    """Of whichever engine there is: two selectors or rates."""
    return f"({sglang} or {vllm})"


def _rate(sglang: str, vllm: str, sglang_where: str = "", vllm_where: str = "") -> str:
    return _either(
        f"rate({sglang}{{S{',' if sglang_where else ''}{sglang_where}}}[W])",
        f"rate({vllm}{{S{',' if vllm_where else ''}{vllm_where}}}[W])",
    )


def _quantiles(sglang: str, vllm: str, *shares: float) -> tuple[tuple[str, str], ...]:
    buckets = f"sum by (stack, le) ({_rate(f'{sglang}_bucket', f'{vllm}_bucket')})"
    return tuple((f"{{{{stack}}}} p{share * 100:g}", f"histogram_quantile({share}, {buckets})") for share in shares)


def _share(part: str, whole: str, by: str) -> str:
    return f"sum by ({by}) (rate({part}{{S}}[W])) / sum by ({by}) (rate({whole}{{S}}[W]))"


_CHATS, _HANDLERS = 'endpoint=~"/v1/.*"', 'handler=~"/v1/.*"'

ROWS: dict[str, tuple[Panel, ...]] = {
    "Traffic": (
        Panel(
            "Replicas",
            "short",
            (("{{stack}}", "glm_serving_replicas{S}"), ("{{stack}} kept up", "glm_serving_replicas_kept_up{S}")),
            "What Modal has; asking it starts none.",
        ),
        Panel(
            "Requests under way",
            "short",
            (
                (
                    "{{stack}} running",
                    f"sum by (stack) {_either('sglang:num_running_reqs{S}', 'vllm:num_requests_running{S}')}",
                ),
                (
                    "{{stack}} queue in the engine",
                    f"sum by (stack) {_either('sglang:num_queue_reqs{S}', 'vllm:num_requests_waiting{S}')}",
                ),
                ("{{stack}} without an answer yet", "sum by (stack) (glm_serving_unanswered_requests{S})"),
                ("{{stack}} wait for a replica", "glm_serving_waiting_requests{S}"),
                ("{{stack}} at replicas, by Modal", "glm_serving_running_requests{S}"),
            ),
        ),
        Panel(
            "Requests finished",
            "reqps",
            (("{{stack}}", f"sum by (stack) {_rate('sglang:num_requests_total', 'vllm:request_success_total')}"),),
        ),
        Panel(
            "Answers by status",
            "reqps",
            (
                (
                    "{{stack}} {{status_code}}",
                    f"sum by (stack, status_code) (rate(sglang:http_responses_total{{S,{_CHATS}}}[W]))",
                ),
                ("{{stack}} {{status}}", f"sum by (stack, status) (rate(http_requests_total{{S,{_HANDLERS}}}[W]))"),
            ),
            "SGLang counts by status, vLLM by class of it; without the key none is counted.",
        ),
    ),
    "Latency": (
        Panel(
            "Time to first token",
            "s",
            _quantiles("sglang:time_to_first_token_seconds", "vllm:time_to_first_token_seconds", 0.5, 0.95, 0.99),
        ),
        Panel(
            "Time between tokens",
            "s",
            _quantiles("sglang:inter_token_latency_seconds", "vllm:inter_token_latency_seconds", 0.5, 0.95),
        ),
        Panel(
            "Whole answer",
            "s",
            _quantiles("sglang:e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds", 0.5, 0.95),
        ),
        Panel(
            "Queue in the engine",
            "s",
            _quantiles("sglang:queue_time_seconds", "vllm:request_queue_time_seconds", 0.5, 0.95),
        ),
    ),
    "Throughput": (
        Panel(
            "Tokens a second",
            "short",
            (
                (
                    "{{stack}} out",
                    f"sum by (stack) {_rate('sglang:generation_tokens_total', 'vllm:generation_tokens_total')}",
                ),
                ("{{stack}} in", f"sum by (stack) {_rate('sglang:prompt_tokens_total', 'vllm:prompt_tokens_total')}"),
            ),
        ),
        Panel(
            "Accept length",
            "short",
            (
                ("{{stack}} {{replica}}", "sglang:spec_accept_length{S}"),
                (
                    "{{stack}} {{replica}}",
                    "1 + "
                    + _share(
                        "vllm:spec_decode_num_accepted_tokens_total",
                        "vllm:spec_decode_num_drafts_total",
                        "stack, replica",
                    ),
                ),
            ),
            "Tokens that one verification of drafts brings.",
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            (("{{stack}} {{replica}}", _either("sglang:token_usage{S}", "vllm:kv_cache_usage_perc{S}")),),
        ),
        Panel(
            "Prompt tokens from the prefix cache",
            "percentunit",
            (
                (
                    "{{stack}}",
                    _share("sglang:cached_tokens_total", "sglang:prompt_tokens_total", "stack"),
                ),
                (
                    "{{stack}}",
                    _share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", "stack"),
                ),
            ),
        ),
    ),
    "Starts, log lines, money": (
        Panel(
            "Cold starts by phase",
            "s",
            (("{{stack}} {{replica}} {{phase}}", "max by (stack, replica, phase) (glm_serving_start_seconds{S})"),),
            "Allocation by Modal comes before these.",
        ),
        Panel(
            "Log findings",
            "short",
            (("{{stack}} {{severity}}", "sum by (stack, severity) (glm_serving_log_findings_total{S})"),),
            "Since each replica's start; docs/operations.md has the rules.",
        ),
        Panel(
            "Spent this month",
            "currencyUSD",
            (("{{stack}}", "glm_serving_spent_usd{S}"), ("{{stack}} {{limit}}", "glm_serving_budget_usd{S}")),
        ),
        Panel(
            "What is asked",
            "short",
            (
                ("{{stack}} {{release}}", "count by (stack, release) (glm_serving_release{S})"),
                ("{{stack}} Modal answered", "glm_serving_modal_answered{S}"),
                ("{{stack}} replica answered", "glm_serving_scrape_answered{S}"),
            ),
            "Replicas by release, and whether exporter and replicas answer.",
        ),
    ),
}


def expression(query: str, stack: str = _STACK, window: str = _WINDOW) -> str:
    """PromQL with the stacks' matcher and the window in their places."""
    return query.replace("{S,", "{" + stack + ",").replace("{S}", "{" + stack + "}").replace("[W]", f"[{window}]")


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row, found in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
                "collapsed": False,
                "panels": [],
            }
        )
        for number, panel in enumerate(found):
            place = {"h": 8, "w": 12, "x": 12 * (number % 2), "y": y + 1 + 8 * (number // 2)}
            panels.append(_panel(len(panels) + 1, panel, place))
        y += 1 + 8 * -(-len(found) // 2)
    return {
        "uid": "glm-serving",
        "title": "GLM serving",
        "tags": ["glm-serving"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource_variable(), _stack_variable()]},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"lineWidth": 2, "spanNulls": 120000}},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _DATASOURCE,
                "expr": expression(query),
                "legendFormat": legend,
            }
            for place, (legend, query) in enumerate(panel.queries)
        ],
    }


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
    }


def _stack_variable() -> dict[str, Any]:
    return {
        "name": "stack",
        "label": "Stack",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": "label_values(glm_serving_modal_answered, stack)", "refId": "stacks"},
        "definition": "label_values(glm_serving_modal_answered, stack)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
