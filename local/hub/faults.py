"""Faults that tests order: each rule hits the next requests it matches, a given number of times.

    {"match": "GET .*00002", "kind": "reset", "after_bytes": 1000000, "times": 2}

`match` is a regular expression searched in "METHOD /path"; `times` null means until it is cleared. Kinds: `status`
(with `status`, default 500; 401, 403 and 404 in the Hub's words for a bad token, a gated and an unknown repository),
`429` (with `retry_after` seconds), `slow` (`bytes_per_second` of the body), `close` (the connection ends properly, but
after `after_bytes` of the body: huggingface_hub asks again for the rest), `reset` (likewise, by a TCP reset:
huggingface_hub gives the file up), `stall` (nothing more comes after `after_bytes`, for `seconds` or until the rule is
deleted), `wrong_bytes` (the byte at `after_bytes` is inverted).
"""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass, field
from typing import Any

KINDS = ("status", "429", "close", "reset", "stall", "wrong_bytes", "slow")
_FIELDS = {"match", "kind", "times", "status", "retry_after", "after_bytes", "seconds", "bytes_per_second"}


@dataclass
class Fault:
    match: re.Pattern[str]
    kind: str
    times: int | None = 1
    status: int = 500
    retry_after: int = 1
    after_bytes: int = 0
    seconds: float = 3600
    bytes_per_second: float = 100_000
    hits: int = 0
    id: str = ""
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def to_json(self) -> dict[str, Any]:
        kind = str(self.status) if self.kind == "status" else self.kind
        return {"id": self.id, "kind": kind, "match": self.match.pattern, "times": self.times, "hits": self.hits}


class Faults:
    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, document: dict[str, Any]) -> Fault:
        """Raises ValueError saying what is wrong with a rule."""
        unknown = set(document) - _FIELDS
        if unknown:
            raise ValueError(f"unknown field {', '.join(sorted(unknown))}; known: {', '.join(sorted(_FIELDS))}")
        if document.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        try:
            fault = Fault(**{**document, "match": re.compile(str(document.get("match", "")))})
        except re.error as error:
            raise ValueError(f"match is not a regular expression: {error}") from None
        if fault.times is not None and fault.times < 1:
            raise ValueError("times must be at least 1, or null for until it is cleared")
        if fault.bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be a positive number")
        fault.id = f"hub-{next(self._ids)}"
        self.rules.append(fault)
        return fault

    def clear(self, rule_id: str | None = None) -> None:
        """Takes back one, or all; what they hold up goes on."""
        for rule in list(self.rules):
            if rule_id in (None, rule.id):
                rule.lifted.set()
                self.rules.remove(rule)

    def take(self, method: str, path: str) -> Fault | None:
        """The first rule that matches and has hits left; counts the hit."""
        for rule in self.rules:
            if (rule.times is None or rule.hits < rule.times) and rule.match.search(f"{method} {path}"):
                rule.hits += 1
                return rule
        return None
