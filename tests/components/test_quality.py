"""The quality gate: what is asked, what is compared with the deploy before, and what each threshold refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import quality
from components.endpoint import CheckFailed, WrongAnswer
from serving.recipe_sections import Quality, Question

PARIS = Question(prompt="Capital of France?", expect="paris")
SUM = Question(prompt="2+2?", expect="4")
GATE = Quality(questions=[PARIS, SUM], min_right=1, max_mean_drop=0.1, max_deviation=0.5)
IDENTITY: dict[str, Any] = {"commit": "c" * 40, "engine": "sglang", "baseline": 1, "release": "r2", "version": 2}
WORDS = {PARIS.prompt: ["It", " is", " Paris"], SUM.prompt: ["4"]}


class Replies:
    """An endpoint that says what it is told to, with these log-probabilities."""

    def __init__(self, words: dict[str, list[str]], logprob: Any = -0.1, alternatives: Any = ()) -> None:
        self.words, self.logprob, self.alternatives = words, logprob, list(alternatives)
        self.asked: list[dict[str, Any]] = []

    def ask(self, prompt: str, **more: Any) -> dict[str, Any]:
        self.asked.append(more)
        content = [
            {
                "token": word,
                "logprob": self.logprob,
                "top_logprobs": [
                    {"token": word, "logprob": self.logprob},
                    *({"token": token, "logprob": logprob} for token, logprob in self.alternatives),
                ],
            }
            for word in self.words[prompt]
        ]
        message = {"content": "".join(self.words[prompt])}
        return {"choices": [{"message": message, "logprobs": {"content": content}}]}


def figures(
    replies: Replies, before: dict[str, Any] | None = None, gate: Quality = GATE, **changes: Any
) -> dict[str, Any]:
    answers = quality.measure(replies, gate)  # type: ignore[arg-type]
    return quality.judge(answers, gate, {**IDENTITY, **changes}, before)


def baseline() -> dict[str, Any]:
    return figures(Replies(WORDS), release="r1", version=1)


def test_the_first_deploy_is_the_baseline() -> None:
    replies = Replies(WORDS)
    found = figures(replies)
    assert replies.asked == [{"logprobs": True, "top_logprobs": 5}] * 2
    assert (found["right"], found["asked"], found["meanLogprob"]) == (2, 2, -0.1)
    assert "against" not in found
    assert found["answers"][0]["tokens"] == ["It", " is", " Paris"]
    assert "the baseline from now on" in quality.summary(found)


def test_the_same_answers_pass_and_are_the_next_baseline() -> None:
    found = figures(Replies(WORDS, -0.14), baseline())
    assert (found["meanDrop"], found["maxDeviation"], found["compared"]) == (0.04, 0.04, 4)
    assert (found["against"], found["release"]) == ("r1", "r2")
    assert "0.040 lower on average than release r1" in quality.summary(found)


def test_right_answers_from_another_distribution_are_refused() -> None:
    with pytest.raises(quality.Worse) as refused:
        figures(Replies(WORDS, -0.6), baseline())
    assert (refused.value.figures["meanDrop"], refused.value.figures["right"]) == (0.5, 2)
    assert str(refused.value) == (
        "quality: the log-probabilities of its answers are 0.500 lower on average than release r1 (version 1) had "
        "them, over 4 tokens; quality.maxMeanDrop allows 0.1"
    )


def test_one_token_far_away_is_refused_in_either_direction() -> None:
    before = baseline()
    for moved in (-0.7, 0.55):
        before["answers"][0]["logprobs"][1] = -0.1 + moved
        with pytest.raises(WrongAnswer, match=r"one token is 0\.\d+ away .*quality\.maxDeviation allows 0\.5"):
            figures(Replies(WORDS), before, GATE.model_copy(update={"max_mean_drop": 1.0}))


def test_wrong_answers_are_counted() -> None:
    wrong = {**WORDS, SUM.prompt: ["5"]}
    with pytest.raises(WrongAnswer) as refused:
        figures(Replies(wrong))
    assert str(refused.value) == (
        "quality: 1 of 2 answers are right, quality.minRight 1 wants 2; asked '2+2?' it answered '5'"
    )
    assert figures(Replies(wrong), gate=GATE.model_copy(update={"min_right": 0.5}))["right"] == 1


def test_where_answers_part_the_former_token_counts_with_its_present_probability() -> None:
    other = {**WORDS, PARIS.prompt: ["Paris"]}
    near_tie = figures(Replies(other, -0.1, [("It", -0.2)]), baseline())
    assert (near_tie["compared"], near_tie["maxDeviation"]) == (2, 0.1)
    with pytest.raises(WrongAnswer, match="lower on average"):  # not even among the likeliest
        figures(Replies(other, -0.1, [("The", -3.0)]), baseline())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"commit": "d" * 40}, "the weights are those of commit dddddddddddd, not cccccccccccc"),
        ({"engine": "vllm"}, "the engine is vllm, not sglang"),
        ({"baseline": 2}, "quality.baseline is 2, not 1"),
    ],
)
def test_what_cannot_be_compared_starts_a_new_baseline(change: dict[str, Any], why: str) -> None:
    assert quality.why_not_compared({**IDENTITY, **change}, baseline()) == why
    assert "against" not in figures(Replies(WORDS, -5.0), baseline(), **change)


def test_new_questions_are_recorded_and_the_old_ones_compared() -> None:
    third = Question(prompt="Hello?", expect="hi")
    gate = GATE.model_copy(update={"questions": [SUM, third]})
    found = figures(Replies({**WORDS, "Hello?": ["hi"]}), baseline(), gate)
    assert (found["compared"], len(found["answers"])) == (1, 2)


def test_what_is_impossible_is_a_bounded_number() -> None:
    """vLLM says -9999, SGLang the least float there is."""
    for least in (-9999.0, -3.4e38):
        assert figures(Replies(WORDS, least))["meanLogprob"] == -100


def test_an_answer_without_log_probabilities_fails() -> None:
    class Silent(Replies):
        def ask(self, prompt: str, **more: Any) -> dict[str, Any]:
            return {"choices": [{"message": {"content": "4"}, "logprobs": None}]}

    with pytest.raises(CheckFailed, match="came without log-probabilities"):
        figures(Silent(WORDS))
    for unusable in (None, math.nan):
        with pytest.raises(WrongAnswer, match="log-probabilities that are no numbers"):
            figures(Replies(WORDS, unusable))


@given(st.lists(st.floats(-20, 0), min_size=4, max_size=4), st.lists(st.floats(-20, 0), min_size=4, max_size=4))
def test_the_gate_refuses_exactly_what_is_past_a_threshold(old: list[float], new: list[float]) -> None:
    def document(values: list[float]) -> list[quality.Answer]:
        return [quality.Answer("q", "4", True, list("abcd"), values, [{} for _ in values])]

    gate = Quality(questions=[SUM], max_mean_drop=0.5, max_deviation=2)
    before = quality.judge(document(old), gate, IDENTITY, None)
    kept = before["answers"][0]["logprobs"]
    drop = sum(a - b for a, b in zip(kept, new, strict=True)) / 4
    deviation = max(abs(a - b) for a, b in zip(kept, new, strict=True))
    try:
        quality.judge(document(new), gate, IDENTITY, before)
        refused = False
    except WrongAnswer:
        refused = True
    assert refused == (round(drop, 5) > 0.5 or round(deviation, 5) > 2)
