"""Server-sent events of a generation, chunk by chunk as vLLM sends them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from standin.generation import EngineDead, Generation
from standin.streaming import DONE, event, pieces, wants_usage

from vllm import openai_shapes as shapes
from vllm.refusals import Refusal


async def chat_stream(
    generation: Generation, model: str, fingerprint: str | None, request: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    kind = "chat.completion.chunk"
    reasons = request.get("include_reasoning", True)
    last = {} if wants_usage(request) or fingerprint is None else {"system_fingerprint": fingerprint}
    started = False
    try:
        async with aclosing(pieces(generation)) as walk:
            async for cursor, reasoning, content in walk:
                if not started:
                    started = True
                    for index in range(len(generation.plans)):
                        first = {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
                        choice = {**first, "finish_reason": None}
                        yield shapes.chunk(
                            generation.id, kind, model, [choice], prompt_token_ids=None, prompt_text=None
                        )
                deltas: list[dict[str, Any]] = [{"reasoning": reasoning}] if reasoning and reasons else []
                deltas += [{"content": content}] if content else []
                if cursor.ended:
                    deltas += [{"tool_calls": [part]} for part in _call_parts(cursor.plan.calls)]
                ending = (deltas.pop() if deltas else {}) if cursor.ended else None
                for delta in deltas:
                    yield shapes.chunk(generation.id, kind, model, [_choice(cursor.index, delta)])
                if ending is not None:
                    end = {
                        "finish_reason": shapes.finish(cursor.plan, request),
                        "stop_reason": shapes.stop_reason(cursor.plan),
                    }
                    yield shapes.chunk(generation.id, kind, model, [_choice(cursor.index, ending, end)], **last)
        if wants_usage(request):
            yield _usage(generation, kind, model, fingerprint)
    except EngineDead:
        yield event(Refusal.engine_dead().document)
    yield DONE


async def text_stream(
    generation: Generation, model: str, fingerprint: str | None, request: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    kind = "text_completion"
    last = {} if wants_usage(request) or fingerprint is None else {"system_fingerprint": fingerprint}
    try:
        async with aclosing(pieces(generation)) as walk:
            async for cursor, _, text in walk:
                ended = cursor.ended
                choice = {
                    "index": cursor.index,
                    "text": text,
                    "logprobs": None,
                    "finish_reason": cursor.plan.finish if ended else None,
                    "stop_reason": shapes.stop_reason(cursor.plan) if ended else None,
                    "prompt_token_ids": None,
                    "token_ids": None,
                }
                yield shapes.chunk(generation.id, kind, model, [choice], **(last if ended else {}))
        if wants_usage(request):
            yield _usage(generation, kind, model, fingerprint)
    except EngineDead:
        yield event(Refusal.engine_dead().document)
    yield DONE


def _choice(index: int, delta: dict[str, Any], end: dict[str, Any] | None = None) -> dict[str, Any]:
    ending = end or {"finish_reason": None}
    return {"index": index, "delta": delta, "logprobs": None, **ending, "token_ids": None}


def _call_parts(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool calls as their deltas: each first its name, then its arguments."""
    parts = []
    for index, call in enumerate(calls):
        whole = shapes.tool_call(call)
        parts.append(
            {"id": whole["id"], "type": "function", "index": index, "function": {"name": call["function"]["name"]}}
        )
        parts.append({"index": index, "function": {"arguments": call["function"]["arguments"]}})
    return parts


def _usage(generation: Generation, kind: str, model: str, fingerprint: str | None) -> bytes:
    generated = sum(plan.completion_tokens for plan in generation.plans)
    mark = {} if fingerprint is None else {"system_fingerprint": fingerprint}
    return shapes.chunk(generation.id, kind, model, [], usage=shapes.usage(generation.prompt, generated), **mark)
