"""Server-sent events of a generation, chunk by chunk as SGLang sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from standin.chat import Plan

from sglang import openai_shapes as shapes
from sglang.generation import Generation

_DONE = b"data: [DONE]\n\n"


class _Cursor:
    """How far a choice has been sent."""

    def __init__(self, plan: Plan) -> None:
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


async def chat_stream(generation: Generation, model: str, with_usage: bool) -> AsyncGenerator[bytes, None]:
    cursors = [_Cursor(plan) for plan in generation.plans]
    started: set[int] = set()
    async with aclosing(generation.steps()) as steps:
        async for index, count in steps:
            cursor = cursors[index]

            def chunk(
                delta: dict[str, Any], finish: str | None = None, matched: int | str | None = None, index: int = index
            ) -> bytes:
                return shapes.chat_chunk(generation.id, model, index, delta, finish, matched)

            if index not in started:
                started.add(index)
                yield chunk({"reasoning_content": None, "role": "assistant", "content": ""})
            reasoning, content = cursor.take(count)
            if reasoning:
                yield chunk({"reasoning_content": reasoning})
            if content:
                yield chunk({"reasoning_content": None, "content": content})
            if cursor.ended:
                for call in cursor.plan.calls:
                    for part in _call_parts(call):
                        yield chunk({"reasoning_content": None, "tool_calls": [part]})
                yield chunk({"reasoning_content": None}, cursor.plan.finish, cursor.plan.matched)
    if with_usage:
        yield shapes.usage_chunk(generation.id, "chat.completion.chunk", model, _usage(generation))
    yield _DONE


async def text_stream(generation: Generation, model: str, with_usage: bool) -> AsyncGenerator[bytes, None]:
    cursors = [_Cursor(plan) for plan in generation.plans]
    async with aclosing(generation.steps()) as steps:
        async for index, count in steps:
            cursor = cursors[index]
            _, text = cursor.take(count)
            plan = cursor.plan
            end = (plan.finish, plan.matched) if cursor.ended else (None, None)
            if text or cursor.ended:
                yield shapes.text_chunk(generation.id, model, index, text, *end)
    if with_usage:
        yield shapes.usage_chunk(generation.id, "text_completion", model, _usage(generation))
    yield _DONE


def _call_parts(call: dict[str, Any]) -> list[dict[str, Any]]:
    """A tool call as its deltas: first the name, then the arguments."""
    function = call["function"]
    return [
        {**call, "function": {"name": function["name"], "arguments": ""}},
        {**call, "id": None, "function": {"name": None, "arguments": function["arguments"]}},
    ]


def _usage(generation: Generation) -> dict[str, Any]:
    generated = sum(plan.completion_tokens for plan in generation.plans)
    return shapes.usage(generation.prompt, generation.plans, generated)
