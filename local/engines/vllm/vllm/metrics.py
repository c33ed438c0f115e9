"""vLLM's Prometheus metrics: the names, labels and buckets of 0.23.0, and its periodic line about itself."""

from __future__ import annotations

import time

from standin.chat import Plan
from standin.prometheus import Registry, labels

from vllm import log
from vllm.engine_config import EngineConfig

_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
                640, 2560)  # fmt: skip
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_WHOLE = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_GAUGES = {
    "num_requests_running": "Requests in the batches being executed.",
    "num_requests_waiting": "Requests waiting to be processed.",
    "kv_cache_usage_perc": "Share of the KV cache in use; 1 is all of it.",
}
_COUNTERS = {
    "prefix_cache_queries_total": "Tokens looked up in the prefix cache.",
    "prefix_cache_hits_total": "Tokens found in the prefix cache.",
    "num_preemptions_total": "Requests put back into the queue.",
    "prompt_tokens_total": "Prefill tokens processed.",
    "prompt_tokens_cached_total": "Prompt tokens taken from a cache.",
    "generation_tokens_total": "Generated tokens.",
}
_SPECULATIVE = {
    "spec_decode_num_drafts_total": "Drafts.",
    "spec_decode_num_draft_tokens_total": "Drafted tokens.",
    "spec_decode_num_accepted_tokens_total": "Drafted tokens that were accepted.",
}
_REASONS = ("stop", "length", "abort", "error", "repetition")


def _sizes(largest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, … up to `largest`."""
    return tuple(m * 10**e for e in range(9) for m in (1, 2, 5) if m * 10**e <= largest)


class Metrics:
    """`model_name` is the first served name, whichever a request used."""

    def __init__(self, config: EngineConfig, pool: float) -> None:
        self.registry = Registry()
        self._at = labels(engine="0", model_name=config.names[0])
        self._pool = pool
        self._drafts = config.speculative_tokens
        self._seen = {"drafts": 0.0}
        self._window = _Window()
        for name, text in _GAUGES.items():
            self._declare("gauge", name, text)
        self.registry.declare("gauge", "vllm:num_requests_waiting_by_reason", "Waiting requests by reason.")
        for name, text in (_COUNTERS | _SPECULATIVE if self._drafts else _COUNTERS).items():
            self._declare("counter", name, text)
        if self._drafts:
            self.registry.declare(
                "counter", "vllm:spec_decode_num_accepted_tokens_per_pos_total", "Accepted tokens by position."
            )
        self.registry.declare("counter", "vllm:request_success_total", "Requests that ended, by how.")
        for reason in _REASONS:
            self.registry.set("vllm:request_success_total", self._with(finished_reason=reason), 0)
        sizes = _sizes(config.max_model_len)
        for name, buckets in {
            "request_prompt_tokens": sizes,
            "request_generation_tokens": sizes,
            "request_params_max_tokens": sizes,
            "time_to_first_token_seconds": _FIRST_TOKEN,
            "inter_token_latency_seconds": _BETWEEN,
            "request_time_per_output_token_seconds": _BETWEEN,
            "e2e_request_latency_seconds": _WHOLE,
            "request_queue_time_seconds": _WHOLE,
            "request_inference_time_seconds": _WHOLE,
            "request_prefill_time_seconds": _WHOLE,
            "request_decode_time_seconds": _WHOLE,
        }.items():
            self.registry.declare("histogram", f"vllm:{name}", name.replace("_", " ").capitalize() + ".", buckets)
        self.registry.declare("gauge", "vllm:cache_config_info", "The KV cache's settings.")
        self.registry.set(
            "vllm:cache_config_info",
            labels(
                block_size=str(config.block_size),
                cache_dtype=config.args.kv_cache_dtype,
                enable_prefix_caching=str(config.args.enable_prefix_caching is not False),
                engine="0",
                gpu_memory_utilization=str(config.args.gpu_memory_utilization),
                num_gpu_blocks=str(int(pool) // config.block_size),
            ),
            1,
        )
        self.registry.declare("counter", "http_requests_total", "Requests by method, status and handler.")
        self._idle()

    def scheduler(self, stats: dict[str, float], tokens: int) -> None:
        """The scheduler's word on itself after a step that brought `tokens`."""
        self.registry.set("vllm:num_requests_running", self._at, stats["running"])
        self.registry.set("vllm:num_requests_waiting", self._at, stats["queue"])
        for reason, value in (("capacity", stats["queue"]), ("deferred", 0)):
            self.registry.set("vllm:num_requests_waiting_by_reason", self._with(reason=reason), value)
        self.registry.set("vllm:kv_cache_usage_perc", self._at, stats["used"] / self._pool)
        drafts, self._seen["drafts"] = stats["drafts"] - self._seen["drafts"], stats["drafts"]
        self._window.stats = stats
        if tokens:
            self.registry.add("vllm:generation_tokens_total", self._at, tokens)
            self._window.generated += tokens
        if self._drafts and drafts:
            self._accepted(drafts, max(0.0, tokens - drafts))

    def first_token(self, prompt: int, seconds: float) -> None:
        self._observe("time_to_first_token_seconds", seconds)
        self._observe("request_prefill_time_seconds", seconds)
        self._observe("request_queue_time_seconds", min(seconds, 0.001))
        self.registry.add("vllm:prompt_tokens_total", self._at, prompt)
        self.registry.add("vllm:prefix_cache_queries_total", self._at, prompt)
        self._window.prompt += prompt

    def between(self, seconds: float, tokens: int) -> None:
        self.registry.observe("vllm:inter_token_latency_seconds", self._at, seconds / tokens, tokens)

    def ended(self, prompt: int, plan: Plan, seconds: float) -> None:
        generated = plan.completion_tokens
        reason = plan.finish if plan.finish in _REASONS else "stop"
        self.registry.add("vllm:request_success_total", self._with(finished_reason=reason))
        self._observe("request_prompt_tokens", prompt)
        self._observe("request_generation_tokens", generated)
        self._observe("e2e_request_latency_seconds", seconds)
        self._observe("request_inference_time_seconds", seconds)
        self._observe("request_decode_time_seconds", seconds)
        self._observe("request_time_per_output_token_seconds", seconds / max(1, generated))

    def aborted(self) -> None:
        self.registry.add("vllm:request_success_total", self._with(finished_reason="abort"))

    def http(self, method: str, path: str, status: int) -> None:
        at = labels(handler=path, method=method, status=f"{status // 100}xx")
        self.registry.add("http_requests_total", at)

    def say(self) -> None:
        """The periodic line; an engine that stayed idle says nothing."""
        window, self._window = self._window, _Window(self._window.stats)
        seconds = max(1e-3, time.monotonic() - window.since)
        prompt, generated = window.prompt / seconds, window.generated / seconds
        self._window.spoke = bool(prompt or generated)
        if not (self._window.spoke or window.spoke):
            return
        stats = window.stats
        log.info(
            "loggers.py:271",
            f"Engine 000: Avg prompt throughput: {prompt:.1f} tokens/s, Avg generation throughput: {generated:.1f} "
            f"tokens/s, Running: {stats.get('running', 0)} reqs, Waiting: {stats.get('queue', 0)} reqs, GPU KV cache "
            f"usage: {stats.get('used', 0) / self._pool * 100:.1f}%, Prefix cache hit rate: 0.0%",
        )
        if window.drafts:
            drafted = window.drafts * self._drafts
            rates = ", ".join(f"{hits / window.drafts:.3f}" for hits in self._positions(window.drafts, window.accepted))
            log.info(
                "metrics.py:101",
                f"SpecDecoding metrics: Mean acceptance length: {1 + window.accepted / window.drafts:.2f}, Accepted "
                f"throughput: {window.accepted / seconds:.2f} tokens/s, Drafted throughput: {drafted / seconds:.2f} "
                f"tokens/s, Accepted: {window.accepted:.0f} tokens, Drafted: {drafted:.0f} tokens, Per-position "
                f"acceptance rate: {rates}, Avg Draft acceptance rate: {window.accepted / drafted * 100:.1f}%",
            )

    def render(self) -> str:
        return self.registry.render()

    def _accepted(self, drafts: float, accepted: float) -> None:
        self._window.drafts += drafts
        self._window.accepted += accepted
        self.registry.add("vllm:spec_decode_num_drafts_total", self._at, drafts)
        self.registry.add("vllm:spec_decode_num_draft_tokens_total", self._at, drafts * self._drafts)
        self.registry.add("vllm:spec_decode_num_accepted_tokens_total", self._at, accepted)
        for position, hits in enumerate(self._positions(drafts, accepted)):
            at = self._with(position=str(position))
            self.registry.add("vllm:spec_decode_num_accepted_tokens_per_pos_total", at, hits)

    def _positions(self, drafts: float, accepted: float) -> list[float]:
        """Accepted drafts at each position: a later one is only accepted after those before it."""
        found = []
        for _ in range(self._drafts):
            found.append(min(drafts, accepted))
            accepted -= found[-1]
        return found

    def _declare(self, kind: str, name: str, text: str) -> None:
        self.registry.declare(kind, f"vllm:{name}", text)
        self.registry.set(f"vllm:{name}", self._at, 0)

    def _observe(self, name: str, value: float) -> None:
        self.registry.observe(f"vllm:{name}", self._at, value)

    def _with(self, **more: str) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((*self._at, *more.items())))

    def _idle(self) -> None:
        nothing = {"running": 0.0, "queue": 0.0, "used": 0.0, "drafts": 0.0}
        self.scheduler(nothing, 0)


class _Window:
    """What happened since the last periodic line."""

    def __init__(self, stats: dict[str, float] | None = None) -> None:
        self.since = time.monotonic()
        self.stats = stats or {}
        self.prompt = 0.0
        self.generated = 0.0
        self.drafts = 0.0
        self.accepted = 0.0
        self.spoke = False
