"""Modal's ids: a kind prefix and 22 alphanumerics."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """`new_id("ap")` → `ap-` + 22 random alphanumerics."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(22))
