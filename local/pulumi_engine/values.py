"""Property values as JSON, and how they are encrypted.

A secret is a mark around its content, a preview's unknown is one text, as on Pulumi's wire. At rest the content is
encrypted as by the CLI's passphrase provider: AES-256-GCM, the key by PBKDF2 (SHA-256, 1,000,000 rounds, 8 bytes of
salt). `encryptionsalt` is `v1:<salt>:<ciphertext of "pulumi">`, a ciphertext `v1:<nonce>:<sealed>`, all in base64.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

from local.pulumi_engine import Problem

Properties = dict[str, Any]

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_MARK = {_SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}


def secret(content: Any) -> Properties:
    return {**_MARK, "value": content}


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(_SIGNATURE) == _MARK[_SIGNATURE]


def mapped(value: Any, *, leaf: Callable[[Any], Any] = lambda it: it, mark: Callable[[Any], Any] | None = None) -> Any:
    """The value with `leaf` applied to what is neither dict nor list, and `mark`, where given, to marked secrets."""
    if mark and is_secret(value):
        return mark(value)
    if isinstance(value, dict):
        return {key: mapped(item, leaf=leaf, mark=mark) for key, item in value.items()}
    return [mapped(item, leaf=leaf, mark=mark) for item in value] if isinstance(value, list) else leaf(value)


def bare(value: Any) -> Any:
    """The value without any marks."""
    return mapped(value, mark=lambda found: bare(found["value"]))


def masked(value: Any) -> Any:
    """The value as it may be shown."""
    return mapped(value, mark=lambda _: {**_MARK, "ciphertext": "[secret]"})


def has_secret(value: Any) -> bool:
    return masked(value) != value


def marked_like(value: Any, like: Any) -> Any:
    """A value of a provider that knows no secrets, marked where the same place of `like` is secret."""
    if is_secret(value) or is_secret(like):
        return value if is_secret(value) else secret(value)
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: marked_like(item, like.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(like, list):
        return [marked_like(*pair) for pair in zip(value, like, strict=False)] + value[len(like) :]
    return value


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Top-level keys that visibly differ, as {key: "+" | "-" | "~"}, the internal `__…` keys left out."""
    return {
        key: "+" if key not in old else "-" if key not in new else "~"
        for key in sorted({*old, *new})
        if not key.startswith("__") and masked(old.get(key)) != masked(new.get(key))
    }


def as_text(value: Any) -> str:
    """A bare value as the program gets it from the configuration: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Crypter:
    """Encrypts and decrypts under one salt, or a new one. Its methods raise Problem without the right passphrase."""

    def __init__(self, salt: str = "") -> None:
        _, self._raw, self._proof = salt.split(":", 2) if salt else ("", b64encode(os.urandom(8)).decode(), "")

    @cached_property
    def salt(self) -> str:
        return f"v1:{self._raw}:{self._proof or self.encrypt('pulumi')}"

    def encrypt(self, text: str) -> str:
        if self._proof:
            self.decrypt(self._proof)  # else a wrong passphrase would go unnoticed
        nonce = os.urandom(12)
        sealed = self._cipher.encrypt(nonce, text.encode(), None)
        return f"v1:{b64encode(nonce).decode()}:{b64encode(sealed).decode()}"

    def decrypt(self, ciphertext: str) -> str:
        from cryptography.exceptions import InvalidTag

        version, nonce, sealed = ciphertext.split(":")
        if version != "v1":
            raise Problem(f"a secret of this stack has the unknown format {version}; install the Pulumi CLI to read it")
        try:
            return str(self._cipher.decrypt(b64decode(nonce), b64decode(sealed), None).decode())
        except InvalidTag:
            raise Problem("incorrect passphrase; set PULUMI_CONFIG_PASSPHRASE to the one of this stack") from None

    def seal(self, value: Any) -> Any:
        """The value with its secrets encrypted."""
        return mapped(
            value, mark=lambda found: {**_MARK, "ciphertext": self.encrypt(json.dumps(self.seal(found["value"])))}
        )

    def unseal(self, value: Any) -> Any:
        return mapped(value, mark=lambda found: secret(self.unseal(json.loads(self.decrypt(found["ciphertext"])))))

    @cached_property
    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if (passphrase := os.environ.get("PULUMI_CONFIG_PASSPHRASE")) is None:
            raise Problem("passphrase must be set with the environment variable PULUMI_CONFIG_PASSPHRASE")
        return AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), b64decode(self._raw), 1_000_000))


crypter = cache(Crypter)  # to derive a key takes half a second
