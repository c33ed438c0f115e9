"""Secrets of a stack, encrypted as Pulumi's passphrase provider does.

AES-256-GCM under a key that PBKDF2 makes from the passphrase: SHA-256, 1,000,000 rounds, a salt of 8 bytes. A stack's
`encryptionsalt` is `v1:<salt>:<ciphertext of "pulumi">`, a ciphertext is `v1:<nonce>:<sealed>`, all in base64.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from functools import cache

from local.pulumi_engine import Problem

_KNOWN_TEXT = "pulumi"


class Crypter:
    """Encrypts and decrypts under one salt. Raises Problem where the passphrase is missing or another one."""

    def __init__(self, salt: str | None) -> None:
        raw = b64decode(salt.split(":")[1]) if salt else os.urandom(8)
        self._key = _key(_passphrase(), raw)
        self.salt = salt or f"v1:{b64encode(raw).decode()}:{self.encrypt(_KNOWN_TEXT)}"
        if salt:
            self.decrypt(salt.split(":", 2)[2])

    def encrypt(self, text: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        sealed = AESGCM(self._key).encrypt(nonce, text.encode(), None)
        return f"v1:{b64encode(nonce).decode()}:{b64encode(sealed).decode()}"

    def decrypt(self, ciphertext: str) -> str:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, nonce, sealed = ciphertext.split(":")
        if version != "v1":
            raise Problem(f"a secret of this stack has the unknown format {version}; install the Pulumi CLI to read it")
        try:
            return AESGCM(self._key).decrypt(b64decode(nonce), b64decode(sealed), None).decode()
        except InvalidTag:
            raise Problem("incorrect passphrase; set PULUMI_CONFIG_PASSPHRASE to the one of this stack") from None


@cache
def crypter(salt: str) -> Crypter:
    return Crypter(salt)


@cache
def _key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, 1_000_000)


def _passphrase() -> str:
    if (passphrase := os.environ.get("PULUMI_CONFIG_PASSPHRASE")) is None:
        raise Problem("passphrase must be set with the environment variable PULUMI_CONFIG_PASSPHRASE")
    return passphrase
