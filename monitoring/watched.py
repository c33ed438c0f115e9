"""One stack as it is watched: what Modal says of it, asked freely, and its replicas' metrics, asked while they work.

A request to the stack's URL starts a replica where none is up, and keeps one up that would go: at eight GPUs a scrape
every fifteen seconds would cost what a replica costs all month. So Modal is asked first, which starts nothing, and
replicas only while they work on requests, once more after that, or while they are kept up anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from monitoring.exposition import gauges, merged, replica_of

_KEPT = 60.0
"""Seconds for which what a replica said is repeated: one answers a scrape, and which one is not ours to say."""
_ASK_SECONDS = 6.0
"""After which no further replica is asked: Prometheus gives a scrape 14 s in all."""
_SETTINGS_EVERY = 60.0
_SPEND_EVERY = 1800.0
"""Seconds: Modal meters by the hour."""


@dataclass(frozen=True)
class Count:
    """What Modal says of a serving app at this moment."""

    replicas: int
    running: int
    """Requests that replicas work on."""
    waiting: int
    """Requests for which there is no replica yet."""


class Modal(Protocol):
    """What is asked of Modal; none of it starts a replica."""

    def count(self) -> Count | None:
        """None where Modal does not tell: it does not of an app with the ingress `server`."""

    def always_up(self) -> int:
        """Replicas that are kept up without any request."""

    def spent(self, now: datetime) -> float | None:
        """USD of the month; None where Modal does not tell."""


Scrape = Callable[[], str | None]
"""One replica's /metrics; None where there was no answer."""


@dataclass
class Watched:
    stack: str
    modal: Modal
    scrape: Scrape
    limits: Mapping[str, float] = field(default_factory=dict)
    """USD: the budget's `maxMonthlyUsd` and `scaleToZeroAtUsd`."""
    clock: Callable[[], float] = time.monotonic

    _worked: bool = False
    _said: dict[str, tuple[float, str]] = field(default_factory=dict)
    _kept_up: tuple[float, int] | None = None
    _spent: tuple[float, float | None] | None = None

    def exposition(self) -> str:
        """Of this moment, in Prometheus' text format. Raises what `modal` does."""
        now = self.clock()
        count = self.modal.count()
        always = self._always_up(now)
        answered: float | None = None
        if self._may_ask(count, always):
            answered = float(self._ask(max(1, count.replicas if count else always), now))
        self._said = {name: said for name, said in self._said.items() if now - said[0] < _KEPT}
        labels = {"stack": self.stack}
        rows: list[tuple[str, str, Mapping[str, str], float | None]] = [
            ("glm_serving_replicas", "Replicas that Modal has.", labels, count.replicas if count else None),
            ("glm_serving_replicas_kept_up", "Replicas kept up without a request.", labels, always),
            (
                "glm_serving_running_requests",
                "Requests at replicas, by Modal.",
                labels,
                count.running if count else None,
            ),
            ("glm_serving_waiting_requests", "Requests without a replica.", labels, count.waiting if count else None),
            ("glm_serving_scrape_answered", "Whether a replica that was asked told its metrics.", labels, answered),
            ("glm_serving_spent_usd", "Spent this month (UTC), up to the last full hour.", labels, self._spend(now)),
            *(
                ("glm_serving_budget_usd", "Limits of the stack's budget.", {**labels, "limit": name}, limit)
                for name, limit in self.limits.items()
            ),
        ]
        return gauges(rows) + merged({name: text for name, (_, text) in self._said.items()}, labels)

    def _may_ask(self, count: Count | None, always: int) -> bool:
        if count is None:
            return always > 0
        worked, self._worked = self._worked, count.running > 0
        return count.replicas > 0 and (count.running > 0 or worked or always > 0)

    def _ask(self, replicas: int, now: float) -> bool:
        """Until each has answered, or chance has had three tries for each, or time is up. Whether any did."""
        found: set[str] = set()
        for _ in range(3 * replicas):
            text = self.scrape()
            if text is not None:
                name = replica_of(text)
                found.add(name)
                self._said[name] = (now, text)
            if text is None or len(found) >= replicas or self.clock() - now > _ASK_SECONDS:
                break
        return bool(found)

    def _always_up(self, now: float) -> int:
        if self._kept_up is None or now - self._kept_up[0] >= _SETTINGS_EVERY:
            self._kept_up = (now, self.modal.always_up())
        return self._kept_up[1]

    def _spend(self, now: float) -> float | None:
        if self._spent is None or now - self._spent[0] >= _SPEND_EVERY:
            self._spent = (now, self.modal.spent(datetime.now(UTC)))
        return self._spent[1]


def scraper(url: str, api_key: str, headers: Mapping[str, str], seconds: float = 5) -> Scrape:
    """Each time over a connection of its own, which Modal may give to another replica."""
    import requests

    sent = {**headers, "Authorization": f"Bearer {api_key}", "Connection": "close"}

    def scrape() -> str | None:
        try:
            answer: Any = requests.get(f"{url}/metrics", headers=sent, timeout=seconds)
        except requests.RequestException:
            return None
        return str(answer.text) if answer.status_code == 200 else None

    return scrape
