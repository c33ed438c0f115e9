"""OpenAI documents as SGLang writes them: the fields, their order, and what is null."""

from __future__ import annotations

import time
from typing import Any

from standin.chat import Plan
from standin.logprobs import scored
from standin.streaming import event


def usage(prompt: int, plans: list[Plan], generated: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + generated,
        "completion_tokens": generated,
        "prompt_tokens_details": None,
        "reasoning_tokens": min(generated, sum(len(plan.reasoning) for plan in plans)),
    }


def chat_completion(
    request_id: str, model: str, weight_version: str, prompt: int, plans: list[Plan], request: dict[str, Any]
) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": None if plan.calls else "".join(plan.content).lstrip("\n"),
                "reasoning_content": "".join(plan.reasoning) or None,
                "tool_calls": plan.calls or None,
            },
            **_end(plan, _logprobs(plan, request)),
        }
        for index, plan in enumerate(plans)
    ]
    return _answer(_chunk(request_id, "chat.completion", model, choices), weight_version, prompt, plans)


def text_completion(
    request_id: str, model: str, weight_version: str, prompt: int, plans: list[Plan], echo: str
) -> dict[str, Any]:
    choices = [{"index": index, "text": echo + "".join(plan.content), **_end(plan)} for index, plan in enumerate(plans)]
    return _answer(_chunk(request_id, "text_completion", model, choices), weight_version, prompt, plans)


def _end(plan: Plan, logprobs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"logprobs": logprobs, "finish_reason": plan.finish, "matched_stop": plan.matched}


def _logprobs(plan: Plan, request: dict[str, Any]) -> dict[str, Any] | None:
    """Of 0.5.10 and 0.5.16 alike: srt/entrypoints/openai/protocol.py, ChoiceLogprobs."""
    if not request.get("logprobs"):
        return None

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logprob}

    tokens = scored(str(request["messages"]), plan, request.get("top_logprobs") or 0)
    return {"content": [{**entry(t.token, t.logprob), "top_logprobs": [entry(*top) for top in t.top]} for t in tokens]}


def _answer(document: dict[str, Any], weight_version: str, prompt: int, plans: list[Plan]) -> dict[str, Any]:
    totals = usage(prompt, plans, sum(plan.completion_tokens for plan in plans))
    return {**document, "usage": totals, "metadata": {"weight_version": weight_version}}


def chat_chunk(
    request_id: str, model: str, index: int, delta: dict[str, Any], finish: str | None, matched: int | str | None
) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "matched_stop": matched}
    return event(_chunk(request_id, "chat.completion.chunk", model, [choice]))


def text_chunk(
    request_id: str, model: str, index: int, text: str, finish: str | None, matched: int | str | None
) -> bytes:
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish, "matched_stop": matched}
    return event(_chunk(request_id, "text_completion", model, [choice]))


def usage_chunk(request_id: str, kind: str, model: str, totals: dict[str, Any]) -> bytes:
    return event({**_chunk(request_id, kind, model, []), "usage": totals})


def _chunk(request_id: str, kind: str, model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": request_id, "object": kind, "created": int(time.time()), "model": model, "choices": choices}
