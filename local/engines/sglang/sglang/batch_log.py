"""SGLang's lines about its batches."""

from __future__ import annotations

from standin.batching import Limits, Prefill
from standin.log import log


class BatchLog:
    def __init__(self, limits: Limits) -> None:
        self._pool = limits.pool
        self._drafts = len(limits.accept) > 1

    def prefill(self, batch: Prefill, stats: dict[str, float]) -> None:
        log(
            f"Prefill batch, #new-seq: {batch.requests}, #new-token: {batch.paged}, #cached-token: 0, "
            f"token usage: {stats['used'] / self._pool:.2f}, #running-req: {stats['running']}, "
            f"#queue-req: {stats['queue']}, #pending-token: {stats['pending']}, "
            f"cuda graph: False, input throughput (token/s): {batch.tokens / max(1e-4, batch.seconds):.2f}"
        )

    def decode(self, requests: int, stats: dict[str, float]) -> None:
        drafts = f"accept len: {stats['accept']:.2f}, " if self._drafts else ""
        log(
            f"Decode batch, #running-req: {requests}, #token: {stats['used']}, "
            f"token usage: {stats['used'] / self._pool:.2f}, {drafts}cuda graph: True, "
            f"gen throughput (token/s): {stats['throughput']:.2f}, #queue-req: {stats['queue']}"
        )
