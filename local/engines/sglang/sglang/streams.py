"""Server-sent events of a generation, chunk by chunk as SGLang sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from standin.generation import Generation
from standin.streaming import DONE, event, pieces

from sglang import openai_shapes as shapes


async def chat_stream(generation: Generation, model: str, with_usage: bool) -> AsyncGenerator[bytes, None]:
    started: set[int] = set()
    async with aclosing(pieces(generation)) as walk:
        async for cursor, reasoning, content in walk:

            def chunk(
                delta: dict[str, Any],
                finish: str | None = None,
                matched: int | str | None = None,
                index: int = cursor.index,
            ) -> bytes:
                return shapes.chat_chunk(generation.id, model, index, delta, finish, matched)

            if cursor.index not in started:
                started.add(cursor.index)
                yield chunk({"reasoning_content": None, "role": "assistant", "content": ""})
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
    yield DONE


async def text_stream(generation: Generation, model: str, with_usage: bool) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces(generation)) as walk:
        async for cursor, _, text in walk:
            end = (cursor.plan.finish, cursor.plan.matched) if cursor.ended else (None, None)
            if text or cursor.ended:
                yield shapes.text_chunk(generation.id, model, cursor.index, text, *end)
    if with_usage:
        yield shapes.usage_chunk(generation.id, "text_completion", model, _usage(generation))
    yield DONE


async def refused_stream(error: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    yield event({"error": error})
    yield DONE


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
