"""What is asked: prompts that no prefix cache has seen, or those of a file."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serving.warmup import prompt_of


@dataclass(frozen=True)
class Workload:
    prompt_tokens: int
    """About; of made-up prompts. The server's own count is in the results."""
    output_tokens: int
    texts: tuple[str, ...] = field(default=(), repr=False)
    """Asked in turn; where there are none, prompts are made up, which says nothing about drafts on real text."""

    def prompts(self) -> Iterator[str]:
        """Without end. Made-up ones begin with a word of their own each: a prefix cache would answer for the engine."""
        if self.texts:
            yield from itertools.cycle(self.texts)
        text = prompt_of(self.prompt_tokens)
        while True:
            yield f"{secrets.token_hex(4)} {text}"

    def to_json(self) -> dict[str, int]:
        asked = {"outputTokens": self.output_tokens}
        return asked | ({"prompts": len(self.texts)} if self.texts else {"promptTokens": self.prompt_tokens})


def texts_of(path: Path) -> tuple[str, ...]:
    """One prompt on each line that is not empty. Raises OSError, ValueError where there is none."""
    texts = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not texts:
        raise ValueError(f"{path} has no prompt: one on each line")
    return texts
