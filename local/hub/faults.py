"""Faults that tests order: each rule hits the next requests it matches, a given number of times.

    {"match": "GET .*00002", "kind": "reset", "after_bytes": 1000000, "times": 2}

`match` is a regular expression searched in "METHOD /path". Kinds: `status` (with `status`, default 500), `429` (with
`retry_after` seconds), `close` (the connection ends properly, but after `after_bytes` of the body: huggingface_hub
asks again for the rest), `reset` (likewise, by a TCP reset: huggingface_hub gives the file up), `stall` (nothing more
comes after `after_bytes`, for `seconds` or until the rule is deleted), `wrong_bytes` (the byte at `after_bytes` is
inverted).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

KINDS = ("status", "429", "close", "reset", "stall", "wrong_bytes")
_FIELDS = {"match", "kind", "times", "status", "retry_after", "after_bytes", "seconds"}


@dataclass
class Fault:
    match: re.Pattern[str]
    kind: str
    times: int = 1
    status: int = 500
    retry_after: int = 1
    after_bytes: int = 0
    seconds: float = 3600
    hits: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def to_json(self) -> dict[str, Any]:
        return {"match": self.match.pattern, "kind": self.kind, "times": self.times, "hits": self.hits}


class Faults:
    def __init__(self) -> None:
        self.rules: list[Fault] = []

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
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        for rule in self.rules:
            rule.lifted.set()
        self.rules.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The first rule that matches and has hits left; counts the hit."""
        for rule in self.rules:
            if rule.hits < rule.times and rule.match.search(f"{method} {path}"):
                rule.hits += 1
                return rule
        return None
