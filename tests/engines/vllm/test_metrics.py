"""Metrics under vLLM's names, and its periodic lines about itself."""

from __future__ import annotations

import time

from tests.engines.conftest import MODEL, Engine
from tests.engines.vllm.conftest import Serve

NAMES = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:num_requests_waiting_by_reason": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prompt_tokens_total": "counter",
    "vllm:generation_tokens_total": "counter",
    "vllm:request_success_total": "counter",
    "vllm:num_preemptions_total": "counter",
    "vllm:prefix_cache_queries_total": "counter",
    "vllm:spec_decode_num_drafts_total": "counter",
    "vllm:spec_decode_num_draft_tokens_total": "counter",
    "vllm:spec_decode_num_accepted_tokens_total": "counter",
    "vllm:spec_decode_num_accepted_tokens_per_pos_total": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:cache_config_info": "gauge",
}


def _values(engine: Engine) -> dict[str, float]:
    text = engine.request("GET", "/metrics").body.decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_names_types_and_labels(vllm: Engine) -> None:
    vllm.chat("hi", model=f"{MODEL}@7")
    text = vllm.request("GET", "/metrics").body.decode()
    for name, kind in NAMES.items():
        assert f"# TYPE {name} {kind}\n" in text
    assert f'vllm:num_requests_running{{engine="0",model_name="{MODEL}"}} 0.0\n' in text
    assert "@7" not in text  # the first served name, whichever a request used


def test_counts(vllm: Engine) -> None:
    at = f'{{engine="0",model_name="{MODEL}"}}'
    before = _values(vllm)
    usage = vllm.chat("What is 6 * 7?").json()["usage"]
    after = _values(vllm)

    def grown(name: str) -> float:
        return after[name] - before[name]

    assert grown(f"vllm:prompt_tokens_total{at}") == usage["prompt_tokens"]
    assert grown(f"vllm:generation_tokens_total{at}") == usage["completion_tokens"]
    success = f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="{MODEL}"}}'
    assert grown(success) == 1
    drafts = grown(f"vllm:spec_decode_num_drafts_total{at}")
    accepted = grown(f"vllm:spec_decode_num_accepted_tokens_total{at}")
    assert grown(f"vllm:spec_decode_num_draft_tokens_total{at}") == 5 * drafts
    assert accepted == usage["completion_tokens"] - drafts


def test_the_periodic_lines(server: Serve) -> None:
    engine = server()
    engine.wait_ready()
    time.sleep(0.5)
    assert "Avg prompt throughput" not in engine.log  # idle
    engine.chat("hi")
    deadline = time.monotonic() + 10
    while "[loggers.py:271] Engine 000: Avg prompt throughput: " not in engine.log:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "[metrics.py:101] SpecDecoding metrics: Mean acceptance length: " in engine.log


def test_middleware_by_name(server: Serve) -> None:
    """Classes and coroutine functions; the last one named is asked first, and all come before vLLM's own key check."""
    engine = server("--middleware", "gate_for_tests.Gate", "--middleware", "gate_for_tests.stamp")
    engine.wait_ready()
    closed = engine.request("GET", "/closed", key=None)
    assert (closed.status, closed.headers["x-stamp"]) == (418, "/closed")
    assert engine.request("GET", "/metrics", key=None).body.endswith(b"\nadded_by_the_gate 1.0\n")
    assert engine.request("GET", "/v1/models", key=None).status == 401
    assert engine.chat("hi", stream=True).events()[-1] == "[DONE]"
    assert engine.chat("hi", stream=True).headers["x-stamp"] == "/v1/chat/completions"


def test_middleware_that_swallows_the_start_up(server: Serve) -> None:
    engine = server("--middleware", "gate_for_tests.Deaf")
    deadline = time.monotonic() + 20
    while "Application startup complete." not in engine.log:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    assert engine.request("GET", "/health").status == 500
    assert "a middleware must pass the lifespan scope on" in engine.log
