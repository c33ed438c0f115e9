"""Metrics and batching: the names a supervisor reads, and limits that hold."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping

from tests.engines.conftest import Engine, Launch, recorded

NEEDED = (
    "num_running_reqs", "num_queue_reqs", "token_usage", "gen_throughput", "generation_tokens_total",
    "prompt_tokens_total", "time_to_first_token_seconds", "e2e_request_latency_seconds", "inter_token_latency_seconds",
    "num_requests_total", "num_used_tokens", "spec_accept_length", "cuda_graph_passes_total", "realtime_tokens_total",
    "http_requests_total", "http_responses_total", "http_requests_active", "max_total_num_tokens",
    "decode_sum_seq_lens",
)  # fmt: skip


def read(engine: Engine) -> Mapping[str, float]:
    """Sums by name."""
    sums: dict[str, float] = {}
    for line in engine.request("GET", "/metrics", key=None).body.decode().splitlines():
        if not line.startswith("#"):
            name, value = re.sub(r"\{.*\}", "", line).split()
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def test_names_types_and_labels_are_the_real_ones(engine: Engine) -> None:
    engine.chat("hi")
    text = engine.request("GET", "/metrics", key=None).body.decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    real = recorded("metrics.json")
    for name in NEEDED:
        full = f"sglang:{name}"
        assert types[full] == real[full]["type"]
        sample = re.search(rf"^{full}(?:_sum)?\{{(.*?)\}} ", text, re.M)
        assert sample is not None, full
        assert sorted(re.findall(r'(\w+)="', sample[1])) == real[full]["labels"], full
    unknown = set(types) - set(real) - {"sglang:num_aborted_requests_total"}  # that one came with no request aborted
    assert not unknown


def test_they_count_what_was_answered(engine: Engine) -> None:
    before = read(engine)
    usage = engine.chat("What is 2+2?").json()["usage"]
    after = read(engine)

    def grew(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grew("sglang:generation_tokens_total") == usage["completion_tokens"]
    assert grew("sglang:prompt_tokens_total") == usage["prompt_tokens"]
    assert grew("sglang:num_requests_total") == 1
    assert grew("sglang:time_to_first_token_seconds_count") == 1
    assert after["sglang:num_running_reqs"] == 0


def test_buckets_add_up(engine: Engine) -> None:
    engine.chat("hi")
    text = engine.request("GET", "/metrics", key=None).body.decode()
    counts = [float(n) for n in re.findall(r"^sglang:e2e_request_latency_seconds_bucket\{.*\} (\S+)$", text, re.M)]
    total = re.search(r"^sglang:e2e_request_latency_seconds_count\{.*\} (\S+)$", text, re.M)
    assert total is not None
    assert counts == sorted(counts)
    assert counts[-1] == float(total[1]) > 0


def test_no_metrics_without_the_flag(launch: Launch) -> None:
    from tests.engines import conftest

    flags = [flag for flag in conftest.FLAGS if flag != "--enable-metrics"]
    original, conftest.FLAGS[:] = list(conftest.FLAGS), flags
    try:
        engine = launch()
    finally:
        conftest.FLAGS[:] = original
    engine.wait_ready()
    assert engine.request("GET", "/metrics", key=None).status == 404


def test_no_more_than_max_running_requests_run_at_once(launch: Launch) -> None:
    engine = launch("--max-running-requests", "2")
    engine.wait_ready()
    body = {"prompt": "hi", "max_tokens": 120, "ignore_eos": True}
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(engine.request("POST", "/v1/completions", body).status))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        metrics = read(engine)
        seen.append((metrics["sglang:num_running_reqs"], metrics["sglang:num_queue_reqs"]))
        time.sleep(0.01)
    assert statuses == [200] * 6
    assert max(running for running, _ in seen) == 2
    assert max(queued for _, queued in seen) >= 3


def test_the_pool_limits_what_runs_together(launch: Launch) -> None:
    engine = launch("--max-total-tokens", "1024")
    engine.wait_ready()
    refused = engine.chat("word " * 1200)
    assert refused.status == 400
    assert "exceeds the maximum allowed length (1018 tokens)" in refused.json()["message"]
    # The scheduler finds out, not the server: where a stream was asked for, its status has been sent by then.
    stream = engine.chat("word " * 1200, stream=True)
    assert stream.status == 200
    assert stream.events()[0]["error"]["type"] == "BAD_REQUEST"
    assert stream.events()[1:] == ["[DONE]"]
    # An answer that there is no room for ends early; it does not wait for room.
    cut = engine.request("POST", "/v1/completions", {"prompt": "hi", "max_tokens": 5000, "ignore_eos": True})
    assert cut.json()["choices"][0]["finish_reason"] == "length"
    assert cut.json()["usage"]["total_tokens"] == 1022
    body = {"prompt": "hi", "max_tokens": 400, "ignore_eos": True}
    threads = [threading.Thread(target=engine.request, args=("POST", "/v1/completions", body)) for _ in range(4)]
    for thread in threads:
        thread.start()
    used = []
    while any(thread.is_alive() for thread in threads):
        used.append(read(engine)["sglang:token_usage"])
        time.sleep(0.01)
    assert 0 < max(used) <= 1


def test_a_client_that_leaves_frees_its_place(engine: Engine) -> None:
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=5)
    body = {"prompt": "hi", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-test-1234567890"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    response.read(200)
    assert read(engine)["sglang:num_running_reqs"] == 1
    response.close()
    connection.close()
    deadline = time.monotonic() + 3
    while read(engine)["sglang:num_running_reqs"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
