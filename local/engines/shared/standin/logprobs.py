"""Log-probabilities of a plan's tokens: made up, but the same for the same answer to the same question.

Greedy decoding is what they look like: the chosen token is the likeliest, the alternatives share what is left.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from standin.chat import Plan
from standin.environment import fault

END_OF_TURN = "<|user|>"
_ALTERNATIVES = (" the", " a", " and", " It", " is", " of", " to", " one", " which", " That")


@dataclass(frozen=True)
class Scored:
    """One generated token; `top` holds the likeliest ones in order, itself first, at most as many as were asked for."""

    token: str
    logprob: float
    top: list[tuple[str, float]]


def scored(asked: str, plan: Plan, top: int) -> list[Scored]:
    """Every token that was generated, hidden ones included: both engines count the reasoning and the end token."""
    tags = ["</think>"] if plan.reasoning else []
    written = [*plan.reasoning, *tags, *plan.content]
    written += [END_OF_TURN] * (plan.completion_tokens - len(written))
    result, context = [], asked
    for token in written[: plan.completion_tokens]:
        context += token
        digest = hashlib.sha256(context.encode()).digest()
        logprob = -0.02 - 0.38 * digest[0] / 255
        if fault("wrong-scales"):
            logprob -= 0.3 + 0.4 * digest[1] / 255
        left, entries = 1 - math.exp(logprob), [(token, logprob)]
        for other in _ALTERNATIVES:
            if other != token and len(entries) < top:
                left *= 0.4
                entries.append((other, math.log(left)))
        result.append(Scored(token, logprob, entries[:top]))
    return result
