"""Takes secrets out of text before anyone can read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"

# What gives a secret away even where its value is not known here.
_PATTERNS = (
    # server_args=ServerArgs(..., api_key='…', admin_api_key='…') in the engine's start-up log
    (re.compile(r"""(\b\w*api_key=)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""), rf"\g<1>'{MASK}'"),
    # the same as JSON or YAML
    (re.compile(r"""(["']?\bapi[_-]key["']?\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""), rf"\g<1>'{MASK}'"),
    (re.compile(r"(--(?:(?:admin-)?api-key|hf-token|[\w-]*password)[= ])\S+"), rf"\g<1>{MASK}"),
    (re.compile(r"(\bBearer )[A-Za-z0-9._~+/=-]{6,}"), rf"\g<1>{MASK}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}"), f"hf_{MASK}"),
)
# Each pattern needs one of these: nearly every line of a busy engine has none and is spared the search.
_SIGNS = ("api_key", "api-key", "Bearer ", "hf_", "hf-token", "password")


class Redactor:
    """Replaces known secret values, and anything that looks like one, by `***`."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        spellings: set[str] = set()
        for secret in secrets:
            if secret:
                # As itself, and as logs, JSON and URLs would write it.
                spellings |= {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")}
        # Longest first: one secret may contain another.
        self._values = sorted(spellings, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MASK)
        if any(sign in text for sign in _SIGNS):
            for pattern, replacement in _PATTERNS:
                text = pattern.sub(replacement, text)
        return text
