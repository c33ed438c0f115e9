"""What an engine answers before customers' traffic comes.

Four requests (chat, thinking off, long context, tools), each answer validated: they prove that each path answers. Then
prompts of the sizes at which engines and their kernels change their ways, and a batch, for what the first real requests
would otherwise wait for: with everything cached 33 to 67 ms each (measured, H200), without it stalls of 8 to 10 s.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from serving.errors import ServingError
from serving.log_pump import LineSink, print_line
from serving.loopback import Answer, request
from serving.recipe import Recipe

CHAT_PATH = "/v1/chat/completions"

_ANSWER_TOKENS = 16
_TEMPLATE_TOKENS = 184
"""What a chat template may add to a prompt, generously."""

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


# Tokens. On both sides of where SGLang and its kernels change their ways (1,024 and the index top-k of 2,048), and
# beyond 4,096.
#
# 3,040 for what Triton does: a kernel gets a variant of its own, compiled when first needed, where a number given to it
# is a multiple of 16. Beyond the top-k one of SGLang's is given how many pages of 64 tokens the longest prompt of its
# batch has (0.5.16 kernels/ops/attention/dsa/index_buf_accessor.py:605), and without a prompt of 48 pages the first
# customer's with such a number waited for its compilation: 0.37 instead of 0.15 s (docs/gpu.md). 48 pages are 3,009 to
# 3,072 tokens, or 189 to 192 blocks of 16.
PROMPT_SIZES = (60, 200, 900, 1100, 2000, 2400, 3040, 4000, 5100, 7000)
LONGEST_OF_BATCH = (2400, 3040)
"""Of the prompts in a batch the longest: without and with such a number of pages."""
_OCCUPIES = 4000
"""Tokens of the prompt that keeps the engine busy while the rest of a batch arrives, so that it becomes one batch."""
_SECONDS_AHEAD = 0.05


def prompt_of(tokens: int, first: str = "") -> str:
    """A text of about that many tokens: common English words are one each, give or take a few per cent.

    Texts with a different `first` word share no beginning, so that no prefix cache shortens the later ones.
    """
    words = _SENTENCE.split()
    return " ".join([*([first] if first else []), *(words[i % len(words)] for i in range(tokens - bool(first)))])


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
    message = _message_of(answer)
    if isinstance(message, str):
        return message
    # vLLM calls the reasoning `reasoning`, SGLang `reasoning_content`.
    said = [message.get(key) for key in ("content", "reasoning_content", "reasoning", "tool_calls")]
    if not any(part.strip() if isinstance(part, str) else part for part in said):
        return "an empty message: no content, no reasoning, no tool call"
    return None


def _message_of(answer: Answer) -> dict[str, Any] | str:
    """The message of a chat completion, or what is wrong with the answer."""
    if answer.status != 200:
        return f"HTTP {answer.status} {answer.body[:200].decode(errors='replace')}"
    try:
        message = answer.json()["choices"][0]["message"]
    except (ValueError, KeyError, IndexError, TypeError):
        message = None
    if not isinstance(message, dict):
        return f"not a chat completion: {answer.body[:200].decode(errors='replace')}"
    return message


def warm_up(recipe: Recipe, *, api_key: str, out: LineSink = print_line) -> None:
    """Sends the four, one after the other. Raises ServingError at the first that is not answered properly."""
    for number, warmup in enumerate(requests := warmup_requests(recipe), 1):
        started = time.monotonic()
        _send(recipe, api_key, warmup.payload, problem_of, f"warm-up {number}/{len(requests)} ({warmup.name})")
        out(f"[warmup] {number}/{len(requests)} {warmup.name}: {time.monotonic() - started:.1f} s")


def freeze_garbage(recipe: Recipe, *, api_key: str, out: LineSink = print_line) -> None:
    """Python's collector, looking through the million objects that an engine's start has made, stops it for tenths of a
    second amid somebody's request (docs/gpu.md). An engine that can't leave them out serves all the same."""
    path = recipe.engine_module.FREEZE_PATH
    if not path:
        return
    try:
        answer = request(recipe.port, "POST", path, api_key=api_key, timeout=recipe.deadlines.warmup_request)
        problem = "" if answer.status == 200 else f"HTTP {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        out(
            f"[warmup] POST {path}: {problem}; requests may wait some tenths of a second now and then for its collector"
        )


class _Words:
    """How many words make a prompt of so many tokens: learnt from what the engine counted, template included."""

    def __init__(self) -> None:
        self._more = 0

    def of(self, tokens: int) -> int:
        return max(1, tokens - self._more)

    def learn(self, words: int, answer: Answer) -> None:
        counted = answer.json().get("usage", {}).get("prompt_tokens")
        if isinstance(counted, int):
            self._more = counted - words


def ask_all_sizes(
    recipe: Recipe, *, api_key: str, batches: Sequence[int], longest_of_batch: Sequence[int], out: LineSink = print_line
) -> None:
    """One prompt of each size, then so many at once, batch after batch: short ones of unlike lengths and each long one.

    Raises ServingError.
    """
    engine = recipe.engine_module
    longest = engine.longest_request(recipe) - _ANSWER_TOKENS - _TEMPLATE_TOKENS
    sizes = [size for size in PROMPT_SIZES if size < longest]
    started = time.monotonic()
    words = _Words()
    for size in sizes:
        _ask(recipe, api_key, size, f"{size}", words)
    fitting = sorted({min(batch, engine.most_requests(recipe)) for batch in batches})
    for at_once in fitting:
        for long in longest_of_batch:
            prompts = [_OCCUPIES, long, *(20 + 5 * n for n in range(2, at_once))][:at_once]
            fits = [min(size, longest - 1) for size in prompts]
            _ask_together(recipe, api_key, fits, f"{at_once} beside {long}", words)
    out(
        f"[warmup] {len(sizes)} prompts up to {max(sizes, default=0)} tokens, {fitting[-1]} at once: "
        f"{time.monotonic() - started:.1f} s"
    )


def _ask_together(recipe: Recipe, api_key: str, sizes: Sequence[int], first: str, words: _Words) -> None:
    """The first of them a moment ahead of the others."""
    with ThreadPoolExecutor(len(sizes)) as pool:
        asked = []
        for number, size in enumerate(sizes):
            asked.append(pool.submit(_ask, recipe, api_key, size, f"{first}, {number}", words))
            if number == 0:
                time.sleep(_SECONDS_AHEAD)
        for answer in asked:
            answer.result()


def _ask(recipe: Recipe, api_key: str, tokens: int, first: str, words: _Words) -> None:
    number = words.of(tokens)
    payload = {
        "model": recipe.model.served_name,
        "messages": [{"role": "user", "content": prompt_of(number, first)}],
        "max_tokens": _ANSWER_TOKENS,
    }
    words.learn(number, _send(recipe, api_key, payload, _no_message_in, f"warm-up: a prompt of {tokens} tokens"))


def _no_message_in(answer: Answer) -> str | None:
    """What it says to a text without a question is its own affair."""
    message = _message_of(answer)
    return message if isinstance(message, str) else None


def _send(
    recipe: Recipe, api_key: str, payload: dict[str, Any], problem_in: Callable[[Answer], str | None], what: str
) -> Answer:
    """The answer. Raises ServingError, naming `what`, where there is no answer or a problem in it."""
    limit = recipe.deadlines.warmup_request
    problem: str | None
    try:
        answer = request(recipe.port, "POST", CHAT_PATH, payload=payload, api_key=api_key, timeout=limit)
        problem = problem_in(answer)
    except TimeoutError:
        problem = f"no answer within {limit:.0f} s"
    except (OSError, http.client.HTTPException) as error:
        problem = f"connection lost ({error.__class__.__name__}: {error})"
    if problem:
        raise ServingError(
            f"{what} failed: {problem}. "
            "Next: read the engine's lines in `modal app logs`, mend the cause, then pulumi up"
        )
    return answer
