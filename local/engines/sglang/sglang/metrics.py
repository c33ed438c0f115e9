"""SGLang's Prometheus metrics: the names, labels and buckets that a real server exports."""

from __future__ import annotations

import time

from standin.chat import Plan
from standin.prometheus import Registry, labels

from sglang.arguments import ServerArgs

_FIRST_TOKEN = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400)
_WHOLE = (*_FIRST_TOKEN, 600, 1200, 1800, 2400)
_BETWEEN = (0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6,
            0.8, 1, 2, 4, 6, 8)  # fmt: skip
_LENGTHS = (100, 300, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 12500, 15000, 17500,
            20000, 22500, 25000, 27500, 30000, 35000, 40000, 60000, 80000, 100000, 200000, 300000, 400000, 600000,
            800000, 1000000, 1100000)  # fmt: skip

_HISTOGRAMS = {
    "time_to_first_token_seconds": ("Time from a request's arrival to its first token, in seconds.", _FIRST_TOKEN),
    "e2e_request_latency_seconds": ("Time from a request's arrival to its end, in seconds.", _WHOLE),
    "prompt_tokens_histogram": ("Tokens of a request's prompt.", _LENGTHS),
    "uncached_prompt_tokens_histogram": ("Tokens of a request's prompt that were computed.", _LENGTHS),
    "generation_tokens_histogram": ("Tokens a request generated.", _LENGTHS),
    "inter_token_latency_seconds": ("Time between two tokens of a request, in seconds.", _BETWEEN),
    "queue_time_seconds": ("Time a request waited in the queue, in seconds.", _FIRST_TOKEN),
}
_RANK_GAUGES = {
    "max_total_num_tokens": "Tokens that fit the KV pool.",
    "engine_startup_time": "Seconds the engine took to start.",
    "engine_load_weights_time": "Seconds the weights took to load.",
    "page_size": "Tokens per page of the KV pool.",
    "num_pages": "Pages of the KV pool.",
    "context_len": "Longest context, in tokens.",
    "startup_available_gpu_memory_gb": "GPU memory free after start-up, in GB.",
    "num_running_reqs": "Requests being worked on.",
    "num_queue_reqs": "Requests waiting.",
    "num_grammar_queue_reqs": "Requests waiting for a grammar.",
    "gen_throughput": "Generated tokens per second.",
    "cache_hit_rate": "Share of prompt tokens found in the prefix cache.",
    "decode_sum_seq_lens": "Sum of the lengths of the sequences being decoded.",
    "token_usage": "Share of the KV pool in use.",
    "full_token_usage": "Share of the full-attention KV pool in use.",
    "num_used_tokens": "Tokens of the KV pool in use.",
    "kv_available_tokens": "Tokens of the KV pool that are free.",
    "kv_evictable_tokens": "Tokens of the KV pool that could be evicted.",
    "kv_used_tokens": "Tokens of the KV pool that requests hold.",
    "spec_accept_length": "Tokens accepted per verification.",
    "spec_accept_rate": "Share of drafted tokens accepted.",
    "spec_num_steps": "Draft steps per verification.",
    "spec_num_draft_tokens": "Drafted tokens per verification.",
    "utilization": "Share of the time the GPU worked.",
    "new_token_ratio": "Share of a request's new tokens that is reserved ahead.",
    "is_cuda_graph": "Whether the last batch ran from a CUDA graph.",
    "num_retracted_reqs": "Requests put back into the queue.",
    "num_paused_reqs": "Requests paused.",
}
_COUNTERS = {
    "prompt_tokens_total": "Prompt tokens of requests that ended.",
    "generation_tokens_total": "Generated tokens of requests that ended.",
    "spec_verify_calls_total": "Verifications of drafted tokens.",
    "num_requests_total": "Requests that ended.",
    "cached_tokens_total": "Prompt tokens taken from the prefix cache.",
    "num_aborted_requests_total": "Requests given up by their clients.",
    "realtime_tokens_total": "Tokens worked on, counted at every step.",
    "cuda_graph_passes_total": "Forward passes by how they ran.",
    "http_requests_total": "Requests by endpoint.",
    "http_responses_total": "Answers by endpoint and status.",
    "process_cpu_seconds_total": "CPU time by component, in seconds.",
}


class Metrics:
    def __init__(self, args: ServerArgs, facts: dict[str, float]) -> None:
        self.registry = Registry()
        self._engine = labels(engine_type="unified", model_name=args.served_model_name)
        self._rank = labels(
            engine_type="unified", model_name=args.served_model_name, moe_ep_rank="0", pp_rank="0", tp_rank="0"
        )
        for name, (text, buckets) in _HISTOGRAMS.items():
            self.registry.declare("histogram", f"sglang:{name}", text, buckets)
        for name, text in _RANK_GAUGES.items():
            self.registry.declare("gauge", f"sglang:{name}", text)
            self.registry.set(f"sglang:{name}", self._rank, 0)
        for name, text in _COUNTERS.items():
            self.registry.declare("counter", f"sglang:{name}", text)
        self.registry.declare("gauge", "sglang:http_requests_active", "Requests being answered, by endpoint.")
        self._steps = 0.0
        self._pool = facts["pool"]
        for name, value in {
            "max_total_num_tokens": self._pool,
            "engine_startup_time": facts["seconds"],
            "engine_load_weights_time": facts["seconds"],
            "page_size": args.page_size,
            "num_pages": self._pool // args.page_size,
            "context_len": facts["context"],
            "startup_available_gpu_memory_gb": facts["free_gb"],
            "spec_num_steps": args.speculative_num_steps or 0,
            "spec_num_draft_tokens": args.speculative_num_draft_tokens or 0,
            "new_token_ratio": 0.7,
            "kv_available_tokens": self._pool,
        }.items():
            self._gauge(name, value)

    def _gauge(self, name: str, value: float) -> None:
        self.registry.set(f"sglang:{name}", self._rank, value)

    def scheduler(self, stats: dict[str, float], tokens: int) -> None:
        """The scheduler's word on itself after a step that brought `tokens`."""
        self._gauge("num_running_reqs", stats["running"])
        self._gauge("num_queue_reqs", stats["queue"])
        self._gauge("gen_throughput", stats["throughput"])
        for name in ("num_used_tokens", "kv_used_tokens", "decode_sum_seq_lens"):
            self._gauge(name, stats["used"])
        self._gauge("kv_available_tokens", self._pool - stats["used"])
        for name in ("token_usage", "full_token_usage"):
            self._gauge(name, stats["used"] / self._pool)
        self._gauge("spec_accept_length", stats["accept"])
        steps, self._steps = stats["steps"] - self._steps, stats["steps"]
        if steps:
            mode = (*self._rank, ("mode", "decode_cuda_graph"))
            self.registry.add("sglang:cuda_graph_passes_total", tuple(sorted(mode)), steps)
            self.registry.add("sglang:spec_verify_calls_total", self._engine, steps)
        if tokens:
            decode = tuple(sorted((*self._rank, ("mode", "decode"))))
            self.registry.add("sglang:realtime_tokens_total", decode, tokens)

    def first_token(self, prompt: int, seconds: float) -> None:
        self.registry.observe("sglang:time_to_first_token_seconds", self._engine, seconds)
        self.registry.observe("sglang:queue_time_seconds", self._rank, min(seconds, 0.001))
        prefill = tuple(sorted((*self._rank, ("mode", "prefill_compute"))))
        self.registry.add("sglang:realtime_tokens_total", prefill, prompt)

    def between(self, seconds: float, tokens: int) -> None:
        self.registry.observe("sglang:inter_token_latency_seconds", self._engine, seconds / tokens, tokens)

    def ended(self, prompt: int, plan: Plan, seconds: float) -> None:
        generated = plan.completion_tokens
        for name, value in (("prompt_tokens", prompt), ("generation_tokens", generated)):
            self.registry.add(f"sglang:{name}_total", self._engine, value)
            self.registry.observe(f"sglang:{name}_histogram", self._engine, value)
        self.registry.observe("sglang:uncached_prompt_tokens_histogram", self._engine, prompt)
        self.registry.observe("sglang:e2e_request_latency_seconds", self._engine, seconds)
        self.registry.add("sglang:num_requests_total", self._engine)
        self.registry.add("sglang:cached_tokens_total", tuple(sorted((*self._engine, ("cache_source", "device")))), 0)

    def aborted(self) -> None:
        self.registry.add("sglang:num_aborted_requests_total", self._engine)

    def http_started(self, method: str, path: str) -> None:
        self.registry.add("sglang:http_requests_total", labels(endpoint=path, method=method))
        self.registry.add("sglang:http_requests_active", labels(endpoint=path, method=method))

    def http_ended(self, method: str, path: str, status: int) -> None:
        self.registry.add("sglang:http_responses_total", labels(endpoint=path, method=method, status_code=str(status)))
        self.registry.add("sglang:http_requests_active", labels(endpoint=path, method=method), -1)

    def render(self) -> str:
        self.registry.set("sglang:process_cpu_seconds_total", labels(component="tokenizer"), time.process_time())
        return self.registry.render()
