"""Modal's ids: a kind prefix and 22 alphanumerics."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
_SANDBOX_MARK = "V"
"""By their last letter the SDK (1.6) knows the containers of its newer sandboxes, which the local cloud has not."""


def new_id(prefix: str) -> str:
    """`new_id("ap")` → `ap-` + 22 random alphanumerics."""
    letters = [secrets.choice(_ALPHABET) for _ in range(21)]
    return f"{prefix}-{''.join(letters)}{secrets.choice(_ALPHABET.replace(_SANDBOX_MARK, ''))}"
