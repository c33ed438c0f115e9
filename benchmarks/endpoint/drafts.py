"""How many tokens a verification of drafts brings, as the engine itself counts: read from /metrics during a level."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict

import aiohttp

from benchmarks.endpoint.exchange import Target

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(\{.*\})? (\S+)$", re.M)
_GAUGE, _RUNNING = "sglang:spec_accept_length", "sglang:num_running_reqs"
_DRAFTS, _ACCEPTED = "vllm:spec_decode_num_drafts_total", "vllm:spec_decode_num_accepted_tokens_total"


class AcceptLength:
    """Several replicas answer in turn: one is known by the seconds that its start took, and compared with itself."""

    def __init__(self) -> None:
        self._gauges: list[float] = []
        self._counts: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.replicas: set[str] = set()
        self.unread = 0
        """How often /metrics gave no answer."""

    def look(self, text: str) -> None:
        """What one replica's /metrics said."""
        sums: dict[str, float] = defaultdict(float)
        for name, _, value in _SAMPLE.findall(text):
            sums[name] += float(value)
        replica = "\n".join(line for line in text.splitlines() if line.startswith("glm_serving_start_seconds{"))
        self.replicas.add(replica)
        if sums.get(_RUNNING) and sums.get(_GAUGE):
            self._gauges.append(sums[_GAUGE])
        if _DRAFTS in sums:
            self._counts[replica].append((sums[_DRAFTS], sums[_ACCEPTED]))

    @property
    def value(self) -> float | None:
        """Tokens a verification: the accepted ones and the model's own. None where nothing is drafted or told."""
        drafts = sum(seen[-1][0] - seen[0][0] for seen in self._counts.values())
        accepted = sum(seen[-1][1] - seen[0][1] for seen in self._counts.values())
        if drafts > 0:
            return 1 + accepted / drafts
        # SGLang's own mean over its last batches, which it tells as a gauge.
        return sum(self._gauges) / len(self._gauges) if self._gauges else None


async def watch(session: aiohttp.ClientSession, target: Target, found: AcceptLength, every: float) -> None:
    """Looks every so many seconds until it is cancelled. An endpoint that does not tell leaves `found` empty."""
    headers = target.all_headers()
    limit = aiohttp.ClientTimeout(total=30)
    while True:
        try:
            async with session.get(f"{target.url}/metrics", headers=headers, timeout=limit) as answer:
                answer.raise_for_status()
                found.look(await answer.text())
        except (aiohttp.ClientError, TimeoutError):
            found.unread += 1  # the level's own requests tell what is wrong with the endpoint
        await asyncio.sleep(every)
