"""Sizes of the warm-up's prompts are tokens as the engine counts them, and a batch arrives behind a prompt that keeps
the engine busy: what its kernels' variants depend on."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from serving import warmup
from serving.loopback import Answer
from tests.serving.conftest import Stack

_TEMPLATE = 23
_PAGE = 64


class CountingEngine:
    """Counts a token for each word and each character of a number, and what its chat template adds."""

    def __init__(self, *, counts: bool = True) -> None:
        self._counts = counts
        self._lock = threading.Lock()
        self.asked: list[tuple[float, int]] = []
        """When a request came and how many tokens it had."""

    def __call__(self, port: int, method: str, path: str, *, payload: Any, **_: Any) -> Answer:
        words = payload["messages"][0]["content"].split()
        tokens = _TEMPLATE + sum(len(word) if word[0].isdigit() else 1 for word in words)
        with self._lock:
            self.asked.append((time.monotonic(), tokens))
        body: dict[str, Any] = {"choices": [{"message": {"content": "yes"}}]}
        if self._counts:
            body["usage"] = {"prompt_tokens": tokens}
        return Answer(200, json.dumps(body).encode())


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> CountingEngine:
    engine = CountingEngine()
    monkeypatch.setattr(warmup, "request", engine)
    return engine


def ask(stack: Stack, *batches: int) -> None:
    longest = warmup.LONGEST_OF_BATCH
    warmup.ask_all_sizes(stack.recipe, api_key="", batches=batches, longest_of_batch=longest, out=lambda _: None)


def test_a_prompt_has_the_pages_that_triton_makes_a_variant_for(stack: Stack, engine: CountingEngine) -> None:
    ask(stack, 4)
    sizes = [tokens for _, tokens in engine.asked[: len(warmup.PROMPT_SIZES)]]
    pages = {-(-tokens // _PAGE) for tokens in sizes if tokens > 2048}
    assert {count % 16 == 0 for count in pages} == {True, False}
    for asked, wanted in zip(sizes[1:], warmup.PROMPT_SIZES[1:], strict=True):
        assert abs(asked - wanted) <= 2, "more or fewer digits in its first word, no more"


def test_a_batch_has_either_kind_of_long_prompt_behind_one_that_takes_a_while(
    stack: Stack, engine: CountingEngine
) -> None:
    ask(stack, 4)
    batches = engine.asked[len(warmup.PROMPT_SIZES) :]
    assert len(batches) == 8
    aligned = []
    for batch in (batches[:4], batches[4:]):
        (first, occupies), *rest = batch
        assert occupies > 3900
        assert min(when for when, _ in rest) - first >= 0.05
        longest = max(tokens for _, tokens in rest)
        assert longest > 2048
        aligned.append(-(-longest // _PAGE) % 16 == 0)
    assert aligned == [False, True]


def test_an_engine_that_counts_nothing_is_asked_all_the_same(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CountingEngine(counts=False)
    monkeypatch.setattr(warmup, "request", engine)
    ask(stack, 2)
    assert len(engine.asked) == len(warmup.PROMPT_SIZES) + 4


def test_the_engine_freezes_its_heap_and_serves_on_where_it_cannot(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def answers(status: int) -> None:
        def engine(port: int, method: str, path: str, **_: Any) -> Answer:
            asked.append((method, path))
            return Answer(status, b"")

        monkeypatch.setattr(warmup, "request", engine)

    said: list[str] = []
    answers(200)
    warmup.freeze_garbage(stack.recipe, api_key="", out=said.append)
    assert (asked, said) == ([("POST", "/freeze_gc")], [])
    answers(404)
    warmup.freeze_garbage(stack.recipe, api_key="", out=said.append)
    assert said == [
        "[warmup] POST /freeze_gc: HTTP 404; requests may wait some tenths of a second now and then for its collector"
    ]
