"""The four requests that an engine answers before customers' traffic comes: chat, thinking off, long context, tools.

They capture what the first real requests would otherwise wait for, and prove that each path answers.
"""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Any

from serving.errors import ServingError
from serving.log_pump import LineSink, print_line
from serving.loopback import Answer, request
from serving.recipe import Recipe

CHAT_PATH = "/v1/chat/completions"

_SENTENCE = "the quick brown fox jumps over a lazy dog and then walks back home along the old stone wall"

_WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True)
class WarmupRequest:
    name: str
    payload: dict[str, Any]


def prompt_of(tokens: int) -> str:
    """A text of about that many tokens: common English words are one each, give or take a few per cent."""
    words = _SENTENCE.split()
    return " ".join(words[i % len(words)] for i in range(tokens))


def warmup_requests(recipe: Recipe) -> list[WarmupRequest]:
    def chat(name: str, prompt: str, max_tokens: int, **more: Any) -> WarmupRequest:
        messages = [{"role": "user", "content": prompt}]
        payload = {"model": recipe.model.served_name, "messages": messages, "max_tokens": max_tokens, **more}
        return WarmupRequest(name, payload)

    text = prompt_of(recipe.warmup.long_context_tokens)
    return [
        chat("chat", "Say hello.", 32),
        chat("thinking off", "Explain quicksort in one sentence.", 64, chat_template_kwargs={"enable_thinking": False}),
        chat("long context", f"{text}\n\nWhich animal jumps in this text?", 32),
        chat("tools", "What is the weather in Tokyo?", 128, tools=[_WEATHER_TOOL], tool_choice="auto"),
    ]


def problem_of(answer: Answer) -> str | None:
    """What is wrong with an answer; None where it is 200 with content, reasoning or a tool call."""
    if answer.status != 200:
        return f"HTTP {answer.status} {answer.body[:200].decode(errors='replace')}"
    try:
        message = answer.json()["choices"][0]["message"]
        said = [message.get(key) for key in ("content", "reasoning_content", "tool_calls")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return f"not a chat completion: {answer.body[:200].decode(errors='replace')}"
    if not any(part.strip() if isinstance(part, str) else part for part in said):
        return "an empty message: no content, no reasoning, no tool call"
    return None


def warm_up(recipe: Recipe, *, api_key: str, out: LineSink = print_line) -> None:
    """Sends the four, one after the other. Raises ServingError at the first that is not answered properly."""
    limit = recipe.deadlines.warmup_request
    for number, warmup in enumerate(requests := warmup_requests(recipe), 1):
        started = time.monotonic()
        try:
            answer = request(recipe.port, "POST", CHAT_PATH, payload=warmup.payload, api_key=api_key, timeout=limit)
            problem = problem_of(answer)
        except TimeoutError:
            problem = f"no answer within {limit:.0f} s"
        except (OSError, http.client.HTTPException) as error:
            problem = f"connection lost ({error.__class__.__name__}: {error})"
        if problem:
            raise ServingError(
                f"warm-up {number}/{len(requests)} ({warmup.name}) failed: {problem}. "
                "Next: read the engine's lines in `modal app logs`, mend the cause, then pulumi up"
            )
        out(f"[warmup] {number}/{len(requests)} {warmup.name}: {time.monotonic() - started:.1f} s")
