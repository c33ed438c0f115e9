"""Server-sent events, and how far each choice of a generation has been sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from standin.chat import Plan
from standin.generation import Generation

DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class Cursor:
    """A choice, and how much of it has been sent."""

    def __init__(self, index: int, plan: Plan) -> None:
        self.index = index
        self.plan = plan
        self._sent = 0

    def take(self, count: int) -> tuple[str, str]:
        """The reasoning and the content among the next `count` tokens; tokens without text come last."""
        start, self._sent = self._sent, self._sent + count
        thought = len(self.plan.reasoning)
        reasoning = self.plan.reasoning[start : self._sent]
        content = self.plan.content[max(0, start - thought) : max(0, self._sent - thought)]
        return "".join(reasoning), "".join(content)

    @property
    def ended(self) -> bool:
        return self._sent >= self.plan.completion_tokens


async def pieces(generation: Generation) -> AsyncGenerator[tuple[Cursor, str, str], None]:
    """(choice, new reasoning, new content) step by step. Raises ClientGone, and EngineDead."""
    cursors = [Cursor(index, plan) for index, plan in enumerate(generation.plans)]
    async with aclosing(generation.steps()) as steps:
        async for index, count in steps:
            yield cursors[index], *cursors[index].take(count)


def wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))
