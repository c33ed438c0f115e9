"""The API key before a rotation, accepted for a while: no client is refused while replicas of two versions serve.

In a cut-over some replicas know the new key and some only the one before. The gate of a new replica takes both, so
the key before works everywhere until the cut-over is over, and the new one everywhere from then on. What a container
gets of the key before is its SHA-256 and the time at which it ends, in two variables of the key's secret.

Standard library only: this runs inside the engine's process (serving/engines/gate.py).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Mapping

SHA256_VARIABLE = "PREVIOUS_KEY_SHA256"
UNTIL_VARIABLE = "PREVIOUS_KEY_UNTIL"
"""Seconds since 1970, UTC."""

NOBODY = {SHA256_VARIABLE: "", UNTIL_VARIABLE: "0"}
"""For a secret whose key has none before it. Modal merges values, so that it takes an earlier one away."""


def for_secret(key: str, seconds: float) -> dict[str, str]:
    """What a secret says of the key that was in it until now; it is accepted for `seconds` more."""
    return {SHA256_VARIABLE: hashlib.sha256(key.encode()).hexdigest(), UNTIL_VARIABLE: f"{time.time() + seconds:.1f}"}


class PreviousKey:
    """What this process was told of the key before. Nothing, or nonsense: no key is the key before."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        try:
            self._digest = bytes.fromhex(environment.get(SHA256_VARIABLE, ""))
            self._until = float(environment.get(UNTIL_VARIABLE, "0"))
        except ValueError:
            self._digest, self._until = b"", 0.0

    def is_key_of(self, digest: bytes) -> bool:
        """Whether this SHA-256 is the key's, now."""
        return time.time() < self._until and hmac.compare_digest(digest, self._digest)
