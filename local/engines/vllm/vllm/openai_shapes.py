"""OpenAI documents as vLLM 0.23.0 writes them: answers with every field, chunks with the fields that were set."""

from __future__ import annotations

import time
import uuid
from typing import Any

from standin.chat import Plan
from standin.logprobs import scored
from standin.streaming import event


def usage(prompt: int, generated: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + generated, "completion_tokens": generated}


def stop_reason(plan: Plan) -> str | None:
    """The stop text; the end token is no reason worth telling."""
    return plan.matched if isinstance(plan.matched, str) else None


def tool_call(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"chatcmpl-tool-{uuid.uuid4().hex[:16]}", "type": "function", "function": call["function"]}


def message(plan: Plan, tool_choice: Any, reasoning: bool) -> dict[str, Any]:
    """The assistant's message; its content is null beside a call of the model's own choosing, else empty."""
    forced = isinstance(tool_choice, dict) or tool_choice == "required"
    content = ("" if forced else None) if plan.calls else "".join(plan.content)
    return {
        "role": "assistant",
        "content": content,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": [tool_call(call) for call in plan.calls],
        "reasoning": ("".join(plan.reasoning) or None) if reasoning else None,
    }


def chat_completion(
    request_id: str, model: str, fingerprint: str | None, prompt: int, plans: list[Plan], request: dict[str, Any]
) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": message(plan, request.get("tool_choice"), request.get("include_reasoning", True)),
            **_end(plan, finish(plan, request), _logprobs(plan, request)),
            "routed_experts": None,
        }
        for index, plan in enumerate(plans)
    ]
    return {
        **_answer(_head(request_id, "chat.completion", model), choices, fingerprint, prompt, plans),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
    }


def text_completion(
    request_id: str, model: str, fingerprint: str | None, prompt: int, plans: list[Plan], echo: str
) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "text": echo + "".join(plan.content),
            **_end(plan, plan.finish),
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index, plan in enumerate(plans)
    ]
    head = _head(request_id, "text_completion", model)
    return {**_answer(head, choices, fingerprint, prompt, plans), "kv_transfer_params": None}


def _logprobs(plan: Plan, request: dict[str, Any]) -> dict[str, Any] | None:
    """As entrypoints/openai/chat_completion/protocol.py has them: ChatCompletionLogProbs."""
    top = request.get("top_logprobs", 0)
    if not request.get("logprobs") or top is None:
        return None

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    tokens = scored(str(request["messages"]), plan, top)
    return {
        "content": [{**entry(t.token, t.logprob), "top_logprobs": [entry(*pair) for pair in t.top]} for t in tokens]
    }


def _end(plan: Plan, finish_reason: str, logprobs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "logprobs": logprobs,
        "finish_reason": finish_reason,
        "stop_reason": stop_reason(plan),
        "token_ids": None,
    }


def _answer(
    head: dict[str, Any], choices: list[dict[str, Any]], fingerprint: str | None, prompt: int, plans: list[Plan]
) -> dict[str, Any]:
    generated = sum(plan.completion_tokens for plan in plans)
    return {
        **head,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": fingerprint,
        "usage": {**usage(prompt, generated), "prompt_tokens_details": None},
    }


def finish(plan: Plan, request: dict[str, Any]) -> str:
    """A call that the request named itself ends with `stop`, as in OpenAI's API."""
    named = isinstance(request.get("tool_choice"), dict)
    return "stop" if plan.finish == "tool_calls" and named else plan.finish


def chunk(request_id: str, kind: str, model: str, choices: list[dict[str, Any]], **more: Any) -> bytes:
    return event({**_head(request_id, kind, model), "choices": choices, **more})


def models(names: list[str], root: str, longest: int) -> dict[str, Any]:
    now = int(time.time())
    cards = [
        {
            "id": name,
            "object": "model",
            "created": now,
            "owned_by": "vllm",
            "root": root,
            "parent": None,
            "max_model_len": longest,
            "permission": [
                {
                    "id": f"modelperm-{uuid.uuid4().hex[:16]}",
                    "object": "model_permission",
                    "created": now,
                    "allow_create_engine": False,
                    "allow_sampling": True,
                    "allow_logprobs": True,
                    "allow_search_indices": False,
                    "allow_view": True,
                    "allow_fine_tuning": False,
                    "organization": "*",
                    "group": None,
                    "is_blocking": False,
                }
            ],
        }
        for name in names
    ]
    return {"object": "list", "data": cards}


def _head(request_id: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": request_id, "object": kind, "created": int(time.time()), "model": model}
