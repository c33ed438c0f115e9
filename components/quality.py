"""Whether a version answers as well as the last good one: known answers, and the log-probabilities of their tokens.

A badly loaded FP8 model works and answers badly: fluent text, another distribution. Greedy answers to the same
questions are compared token by token with those of the last good deploy of the same weights, as far as both say the
same; where they part, the token of before is looked up among the likeliest ones of now.

Only generated tokens are looked at, which both engines give with speculative decoding (SGLang 0.5.10.post1
`speculative/eagle_worker_v2.py`, `_compute_spec_v2_logprobs`; vLLM 0.23.0 `v1/sample/rejection_sampler.py`). Those of
a prompt are reported to be wrong, or to end the engine, where vLLM has MTP drafts (vLLM #53488, #14239).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.endpoint import CheckFailed, Endpoint, WrongAnswer, is_right, text_of

if TYPE_CHECKING:
    from serving.recipe_sections import Quality

TOP = 5
"""How many of the likeliest tokens are asked for at each place; vLLM gives 20 at most."""
_LEAST = -100.0
"""Nats. Impossible is -9999 to vLLM and the least float there is to SGLang."""


@dataclass(frozen=True)
class Answer:
    prompt: str
    text: str
    right: bool
    tokens: list[str]
    logprobs: list[float]
    """Nats, one for each token."""
    top: list[dict[str, float]]
    """The likeliest tokens at each place."""


class Worse(WrongAnswer):
    """Past a threshold; `figures` are what was measured."""

    def __init__(self, message: str, figures: dict[str, Any]) -> None:
        super().__init__(message)
        self.figures = figures


def measure(endpoint: Endpoint, quality: Quality) -> list[Answer]:
    """Asks all questions. Raises CheckFailed, KeyError or TypeError for an answer without log-probabilities."""
    answers = []
    for question in quality.questions:
        document = endpoint.ask(question.prompt, logprobs=True, top_logprobs=TOP)
        text = text_of(document)
        listed = (document["choices"][0].get("logprobs") or {}).get("content")
        if not listed:
            raise CheckFailed("quality: an answer came without log-probabilities, though they were asked for")
        if any(not isinstance(entry["logprob"], (int, float)) or math.isnan(entry["logprob"]) for entry in listed):
            raise WrongAnswer(f"quality: asked {question.prompt!r} it gave log-probabilities that are no numbers")
        answers.append(
            Answer(
                question.prompt,
                text,
                is_right(text, question.expect),
                [entry["token"] for entry in listed],
                [_bounded(entry["logprob"]) for entry in listed],
                [{other["token"]: _bounded(other["logprob"]) for other in entry["top_logprobs"]} for entry in listed],
            )
        )
    return answers


def judge(
    answers: list[Answer], quality: Quality, identity: dict[str, Any], before: dict[str, Any] | None
) -> dict[str, Any]:
    """The figures of these answers, to keep for the next deploy. Raises Worse past a threshold.

    `identity` names what was asked (`commit`, `engine`, `baseline`, `release`, `version`); `before` are the figures of
    the last good deploy.
    """
    right = sum(answer.right for answer in answers)
    spread = [value for answer in answers for value in answer.logprobs]
    figures = {
        **identity,
        "right": right,
        "asked": len(answers),
        "meanLogprob": _round(sum(spread) / len(spread)),
        "answers": [
            {"prompt": answer.prompt, "tokens": answer.tokens, "logprobs": answer.logprobs} for answer in answers
        ],
    }
    comparable = before is not None and not why_not_compared(identity, before)
    changes = list(_changes(answers, before["answers"])) if before and comparable else []
    if before and changes:
        drop, deviation = -sum(changes) / len(changes), max(abs(change) for change in changes)
        compared = {"meanDrop": _round(drop), "maxDeviation": _round(deviation), "compared": len(changes)}
        figures |= {**compared, "against": before["release"], "againstVersion": int(before["version"])}
    if why := _too_bad(answers, figures, quality):
        raise Worse(f"quality: {why}", figures)
    return figures


def _too_bad(answers: list[Answer], figures: dict[str, Any], quality: Quality) -> str:
    """The first threshold that is passed, with what was measured; empty where none is."""
    right, asked = figures["right"], figures["asked"]
    if right / asked < quality.min_right:
        wrong = next(answer for answer in answers if not answer.right)
        return (
            f"{right} of {asked} answers are right, quality.minRight {quality.min_right:g} wants "
            f"{math.ceil(quality.min_right * asked - 1e-9)}; asked {wrong.prompt!r} it answered {wrong.text[:80]!r}"
        )
    if "against" not in figures:
        return ""
    release = f"release {figures['against']} (version {figures['againstVersion']})"
    against = f"{release} had them, over {figures['compared']} tokens"
    if figures["meanDrop"] > quality.max_mean_drop:
        return (
            f"the log-probabilities of its answers are {figures['meanDrop']:.3f} lower on average than {against}; "
            f"quality.maxMeanDrop allows {quality.max_mean_drop:g}"
        )
    if figures["maxDeviation"] > quality.max_deviation:
        return (
            f"the log-probability of one token is {figures['maxDeviation']:.3f} away from what {against}; "
            f"quality.maxDeviation allows {quality.max_deviation:g}"
        )
    return ""


def why_not_compared(identity: dict[str, Any], before: dict[str, Any]) -> str:
    """Why figures of before say nothing about those of now; empty where they do. GPU and KV type are no reason."""
    if identity["commit"] != before["commit"]:
        return f"the weights are those of commit {identity['commit'][:12]}, not {before['commit'][:12]}"
    if identity["engine"] != before["engine"]:
        return f"the engine is {identity['engine']}, not {before['engine']}"
    if identity["baseline"] != before["baseline"]:
        return f"quality.baseline is {identity['baseline']:g}, not {before['baseline']:g}"
    return ""


def summary(figures: dict[str, Any]) -> str:
    """`6 of 6 right, log-probabilities 0.004 lower than release …` for one line."""
    text = f"{figures['right']:.0f} of {figures['asked']:.0f} answers right"
    if figures.get("meanDrop") is None:
        return f"{text}, mean log-probability {figures['meanLogprob']:.3f}: the baseline from now on"
    return (
        f"{text}, log-probabilities {figures['meanDrop']:.3f} lower on average than release {figures['against']} had "
        f"them, {figures['maxDeviation']:.3f} the most"
    )


def _changes(answers: list[Answer], before: list[dict[str, Any]]) -> Iterable[float]:
    """By how many nats each token's log-probability has risen, up to where an answer says something else."""
    known = {entry["prompt"]: entry for entry in before}
    for answer in answers:
        old = known.get(answer.prompt)
        if old is None:
            continue
        for place, (token, logprob) in enumerate(zip(old["tokens"], old["logprobs"], strict=True)):
            if place >= len(answer.tokens):
                break
            if answer.tokens[place] == token:
                yield answer.logprobs[place] - logprob
                continue
            top = answer.top[place]
            # At most as likely as the last one listed.
            yield top.get(token, min(top.values(), default=answer.logprobs[place])) - logprob
            break


def _bounded(logprob: float) -> float:
    return _round(max(_LEAST, float(logprob)))


def _round(value: float) -> float:
    return round(value, 5) + 0.0  # no minus in front of nothing
