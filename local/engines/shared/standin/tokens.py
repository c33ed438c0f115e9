"""Text as tokens: pieces of words, nothing more. Counts are plausible, not a real tokenizer's."""

from __future__ import annotations

import re
from typing import Any

_PIECE = re.compile(r"\s*(?:\w{1,7}|[^\w\s])|\s+")


def split(text: str) -> list[str]:
    """Pieces that joined give the text."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    return len(_PIECE.findall(text))


def content_text(content: Any) -> str:
    """The text of a message's content, given as a string or as a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
