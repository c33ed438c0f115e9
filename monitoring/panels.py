"""What the dashboard of a stack shows, row by row: the panels with their queries, in no program's format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of it."""
    queries: tuple[tuple[str, str], ...]
    """Legend and PromQL; `S` stands for the chosen stacks, `W` for the window of a rate."""
    about: str
    """What an engineer who was just woken has to know to read it, and the alerts that watch it."""
    width: int = 12
    """Of 24."""
    limits: tuple[tuple[float, str], ...] = ()
    """From which value on it is which colour: a line in a graph, the colour of a single value."""
    decimals: int | None = None
    """0 for what is counted: no halves on the axis."""
    top: float | None = None
    """Where the axis ends at least; without it a flat zero of a share gets an axis up to 10000 %."""
    colours: tuple[tuple[str, str], ...] = ()
    """A legend's pattern and the colour of its lines."""
    dashed: str = ""
    """A legend's pattern: lines that say what ought to be."""


@dataclass(frozen=True)
class Number(Panel):
    """The value of this moment, for each stack, in place of a graph."""

    words: tuple[tuple[int, str, str], ...] = ()
    """Value, the word shown for it, its colour."""
    missing: str = ""
    """What is shown where no stack has a value."""
    name_only: bool = False
    """The legend says all."""


def _either(sglang: str, vllm: str) -> str:
    """Of whichever engine there is: two selectors or rates."""
    return f"({sglang} or {vllm})"


def _rate(sglang: str, vllm: str) -> str:
    return _either(f"rate({sglang}{{S}}[W])", f"rate({vllm}{{S}}[W])")


def _quantiles(sglang: str, vllm: str, *shares: float) -> tuple[tuple[str, str], ...]:
    buckets = f"sum by (stack, le) ({_rate(f'{sglang}_bucket', f'{vllm}_bucket')})"
    return tuple((f"{{{{stack}}}} p{share * 100:g}", f"histogram_quantile({share}, {buckets})") for share in shares)


def _share(part: str, whole: str, by: str) -> str:
    return f"sum by ({by}) (rate({part}{{S}}[W])) / sum by ({by}) (rate({whole}{{S}}[W]))"


def _failed(window: str) -> str:
    """Nobody counts an answer that never came: where there is traffic, no 5xx is 0 and not nothing."""
    return f"glm_serving:failed_answers:ratio{window}{{S}} or 0 * glm_serving:slow_first_token:ratio{window}{{S}}"


# A label that a series lacks is drawn as its name: legends ask only for labels that all series of their query have.
_CHATS, _HANDLERS = 'endpoint=~"/v1/.*"', 'handler=~"/v1/.*"'
_QUEUED = _either("sglang:num_queue_reqs{S}", "vllm:num_requests_waiting{S}")
_BUDGET = 'glm_serving_budget_usd{S,limit="maxMonthlyUsd"}'
_WINDOWS = (("5 min", "5m"), ("1 h", "1h"), ("6 h", "6h"))

ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Number(
            "Alerts that fire",
            "short",
            (
                (
                    "{{alert}}",
                    'label_join(sum by (severity, alertname, stack) (ALERTS{alertstate="firing",stack=~"$stack|"}),'
                    ' "alert", " ", "severity", "alertname", "stack")'
                    ' or on () label_replace(vector(0), "alert", "none", "", "")',
                ),
            ),
            "Those of monitoring/rules.yml, and any other rule of this Prometheus that has a label `stack`.",
            width=8,
            limits=((1, "red"),),
            name_only=True,
        ),
        Number(
            "Does it answer?",
            "short",
            (
                (
                    "{{stack}}",
                    "(glm_serving_modal_answered{S} == 0) or glm_serving_scrape_answered{S}"
                    " or glm_serving_modal_answered{S}",
                ),
            ),
            "Modal, and a replica where one was asked for its metrics. Alerts: ModalSilent, ReplicaSilent.",
            width=4,
            words=((0, "no", "red"), (1, "yes", "green")),
        ),
        Number(
            "Replicas",
            "short",
            (("{{stack}}", "glm_serving_replicas{S}"),),
            "What Modal has; asking it starts none. 0 is right for a stack at zero. Alert: StackDown.",
            width=4,
            missing="not told",
        ),
        Number(
            "Requests that wait",
            "short",
            (
                (
                    "{{stack}}",
                    "sum by (stack) (glm_serving_waiting_requests{S} or sglang:num_queue_reqs{S}"
                    " or vllm:num_requests_waiting{S})",
                ),
            ),
            "For a replica, or in an engine's queue. Alerts: StackDown, QueueInEngine.",
            width=4,
            limits=((1, "yellow"), (10, "red")),
            missing="not told",
        ),
        Number(
            "Spent of the budget",
            "percentunit",
            (("{{stack}}", f"glm_serving_spent_usd{{S}} / on (stack) {_BUDGET}"),),
            "This month's money against budget.maxMonthlyUsd. Alerts: OverBudget, BudgetWillNotLast.",
            width=4,
            limits=((0.8, "orange"), (1, "red")),
            missing="no budget",
        ),
    ),
    "Promises": (
        Panel(
            "First tokens slower than a second",
            "percentunit",
            tuple(
                (f"{{{{stack}}}} {name}", f"glm_serving:slow_first_token:ratio{window}{{S}}")
                for name, window in _WINDOWS
            ),
            "A budget of 5 %. FirstTokenBudgetFast pages where 5 min and 1 h are above the red line,"
            " FirstTokenBudgetSlow writes a ticket where 6 h is above the orange one.",
            limits=((0.3, "orange"), (0.72, "red")),
            decimals=1,
            top=0.1,
        ),
        Panel(
            "Answers that are 5xx",
            "percentunit",
            tuple((f"{{{{stack}}}} {name}", _failed(window)) for name, window in _WINDOWS),
            "Of those under /v1; a budget of 0.5 %. ErrorBudgetFast pages where 5 min and 1 h are above the red line,"
            " ErrorBudgetSlow writes a ticket where 6 h is above the orange one.",
            limits=((0.03, "orange"), (0.072, "red")),
            decimals=1,
            top=0.1,
        ),
    ),
    "Traffic": (
        Panel(
            "Requests at work",
            "short",
            (
                (
                    "{{stack}} in the engine",
                    f"sum by (stack) {_either('sglang:num_running_reqs{S}', 'vllm:num_requests_running{S}')}",
                ),
                ("{{stack}} at replicas", "glm_serving_running_requests{S}"),
            ),
            "In the engine by its own count, at replicas by Modal's, which has those that wait in the engine, too.",
            decimals=0,
        ),
        Panel(
            "Requests that wait, by place",
            "short",
            (
                ("{{stack}} for a replica", "glm_serving_waiting_requests{S}"),
                ("{{stack}} in the engine's queue", f"sum by (stack) {_QUEUED}"),
                ("{{stack}} without a first byte", "sum by (stack) (glm_serving_unanswered_requests{S})"),
            ),
            "At the red line QueueInEngine writes a ticket after 5 minutes in the engine's queue. Without a first"
            " byte are also those whose prompt is being read.",
            limits=((10, "red"),),
            decimals=0,
        ),
        Panel(
            "Replicas over time",
            "short",
            (("{{stack}}", "glm_serving_replicas{S}"), ("{{stack}} kept up", "glm_serving_replicas_kept_up{S}")),
            "What Modal has, and how many are kept up without a request. Alert: StackDown.",
            width=8,
            dashed="kept up$",
            decimals=0,
        ),
        Panel(
            "Requests finished",
            "reqps",
            (("{{stack}}", f"sum by (stack) {_rate('sglang:num_requests_total', 'vllm:request_success_total')}"),),
            "By the engine's count, whichever way they ended.",
            width=8,
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
            width=8,
            colours=((" 4..$", "orange"), (" 5..$", "red")),
        ),
    ),
    "Latency": (
        Panel(
            "Time to first token",
            "s",
            _quantiles("sglang:time_to_first_token_seconds", "vllm:time_to_first_token_seconds", 0.5, 0.95, 0.99),
            "From buckets: no finer than those are. FirstTokenBudget… count what is above the red line.",
            limits=((1, "red"),),
        ),
        Panel(
            "Time between tokens",
            "s",
            _quantiles("sglang:inter_token_latency_seconds", "vllm:inter_token_latency_seconds", 0.5, 0.95),
            "From buckets: no finer than those are.",
        ),
        Panel(
            "Whole answer",
            "s",
            _quantiles("sglang:e2e_request_latency_seconds", "vllm:e2e_request_latency_seconds", 0.5, 0.95),
            "From a request's arrival in the engine to its last token; it follows the answers' length.",
        ),
        Panel(
            "Time in the engine's queue",
            "s",
            _quantiles("sglang:queue_time_seconds", "vllm:request_queue_time_seconds", 0.5, 0.95),
            "Part of the time to the first token. Alert: QueueInEngine.",
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
            "Of answers and of prompts.",
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
            "Tokens that one verification of drafts brings; 1 is no better than without drafts.",
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            (("{{stack}} {{replica}}", _either("sglang:token_usage{S}", "vllm:kv_cache_usage_perc{S}")),),
            "Near 100 % requests wait in the engine's queue.",
            limits=((0.95, "red"),),
            decimals=1,
            top=1,
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
            "Those need not be read again: the time to the first token rises where this falls.",
            top=1,
        ),
    ),
    "Starts, log lines, money": (
        Panel(
            "Cold starts",
            "s",
            (
                ("{{stack}} in all", "max by (stack) (sum by (stack, replica) (glm_serving_start_seconds{S}))"),
                ("{{stack}} {{phase}}", "max by (stack, phase) (glm_serving_start_seconds{S})"),
            ),
            "Of the replicas that are up, the slowest. Allocation by Modal comes before it. ColdStartSlow writes a"
            " ticket at the red line.",
            limits=((600, "red"),),
        ),
        Panel(
            "Log findings",
            "short",
            (
                (
                    "{{stack}} {{severity}} {{rule}}",
                    'sum by (stack, severity, rule) (glm_serving_log_findings_total{S,severity=~"error|fatal"})',
                ),
                (
                    "{{stack}} {{severity}}",
                    'sum by (stack, severity) (glm_serving_log_findings_total{S,severity!~"error|fatal"})',
                ),
            ),
            "Since each replica's start; docs/incidents.md has the rules. Alert: EngineLogsErrors.",
            colours=((" error ", "red"), (" fatal ", "dark-red")),
            decimals=0,
        ),
        Panel(
            "Spent this month",
            "currencyUSD",
            (("{{stack}}", "glm_serving_spent_usd{S}"), ("{{stack}} {{limit}}", "glm_serving_budget_usd{S}")),
            "Up to the last full hour; Modal meters by the hour. Alerts: OverBudget, BudgetWillNotLast.",
            width=8,
            dashed="Usd$",
        ),
        Panel(
            "Replicas by release",
            "short",
            (("{{stack}} {{release}}", "count by (stack, release) (glm_serving_release{S})"),),
            "Of the replicas that told their metrics. Two releases of a stack are a deployment under way.",
            width=8,
            decimals=0,
        ),
        Panel(
            "What answered",
            "short",
            (
                ("the exporter", 'up{job="glm-serving"}'),
                ("{{stack}} Modal", "glm_serving_modal_answered{S}"),
                ("{{stack}} replica", "glm_serving_scrape_answered{S}"),
            ),
            "1 is yes, 0 is no, no line is not asked. Alerts: ExporterDown, ModalSilent, ReplicaSilent.",
            width=8,
            top=1,
            decimals=0,
        ),
    ),
}
