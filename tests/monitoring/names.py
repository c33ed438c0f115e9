"""Metric names in PromQL, and the names that engines, supervisor and exporter export."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
MONITORING = REPOSITORY / "monitoring"
RULE_TESTS = ("rules.test.yml", "rules.money.test.yml")
_NAME = re.compile(r"(?<![\w:\"~])(ALERTS|[a-z_]+:?[a-z][a-z0-9_:]*)(?=[\s{\[)]|$)")
_WORDS = {"sum", "by", "rate", "or", "and", "on", "increase", "scalar", "max", "count", "without", "stack", "le"} | {
    "histogram_quantile", "days_in_month", "day_of_month", "replica", "rule", "severity", "release", "phase", "status",
    "status_code", "alertname",
}  # fmt: skip


def metrics_in(query: str) -> set[str]:
    """The selectors' names."""
    bare = re.sub(r'"[^"]*"', '""', query)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", r"\1 ", bare)
    return {name for name in _NAME.findall(bare) if name not in _WORDS}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """Those that draw something: a row is a heading."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_queries() -> list[tuple[str, str]]:
    """Title and PromQL, as Grafana has it."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def of_sglang() -> set[str]:
    """As recorded from a real one; a histogram's series are named after it."""
    path = REPOSITORY / "tests" / "recordings" / "sglang-0.5.16" / "metrics.json"
    found: set[str] = set()
    for name, metric in json.loads(path.read_text(encoding="utf-8")).items():
        found |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if metric["type"] == "histogram" else {name}
    return found


_VLLM = """
from types import SimpleNamespace as N
from vllm.metrics import Metrics
args = N(kv_cache_dtype="fp8", enable_prefix_caching=True, gpu_memory_utilization=0.9)
config = N(names=["m"], speculative_tokens=5, max_model_len=1000, block_size=16, args=args)
metrics = Metrics(config, 1000)
metrics.first_token(10, 0.1)
metrics.between(0.1, 2)
metrics.ended(10, N(completion_tokens=5, finish="stop"), 0.2)
metrics.http("POST", "/v1/chat/completions", 200)
print(metrics.render())
"""


def of_vllm() -> set[str]:
    """Of the stand-in, whose names are those of 0.23.0's source: there is no recording of a real one."""
    engines = REPOSITORY / "local" / "engines"
    environment = {**os.environ, "PYTHONPATH": f"{engines / 'shared'}:{engines / 'vllm'}"}
    environment["LOCAL_IMAGE_TAG"] = "vllm/vllm-openai:v0.23.0"
    done = subprocess.run([sys.executable, "-c", _VLLM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return samples_of(done.stdout)


def commands_of(document: str) -> list[list[str]]:
    """The words of each line in the shell blocks of a file of docs/."""
    text = (REPOSITORY / "docs" / document).read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def samples_of(text: str) -> set[str]:
    """Names of the samples in an exposition."""
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in text.splitlines() if line and not line.startswith("#")}
