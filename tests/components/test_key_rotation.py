"""What a secret says of the key before a rotation, and when it stops saying so."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from components import modal_api, ownership
from components.api_key import ApiKeyProvider
from components.dynamic import Properties
from components.secret import SecretProvider
from serving.engines.previous_key import NOBODY, SHA256_VARIABLE, UNTIL_VARIABLE, PreviousKey

INPUTS: Properties = {
    "environment": "main",
    "name": "key",
    "keys": ["API_KEY"],
    "values": {"API_KEY": "sk-first"},
    "setWith": "",
    "stack": "org/project/dev",
    "shared": False,
    "ambient": False,
    "grace": 600.0,
}


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The secret's values on Modal, which merges what is written."""
    values: dict[str, str] = {}
    monkeypatch.setattr(modal_api, "secret_has_keys", lambda _env, _name, keys: bool(values) and set(keys) <= {*values})
    monkeypatch.setattr(modal_api, "secret_keys", lambda _env, _name: {*values} or None)
    monkeypatch.setattr(modal_api, "write_secret", lambda _env, _name, written: values.update(written))
    monkeypatch.setattr(
        modal_api, "rewrite_secret", lambda _env, _name, written: (values.clear(), values.update(written))
    )
    return values


def update(olds: Any, **changes: Any) -> Any:
    return SecretProvider().update("id", olds, {**olds, **changes}).outs


def test_a_new_secret_has_no_key_before(secret: dict[str, str]) -> None:
    SecretProvider().create(INPUTS)
    assert secret["API_KEY"] == "sk-first"
    assert NOBODY.items() <= secret.items()


def test_the_key_before_is_told_by_its_digest_alone(secret: dict[str, str]) -> None:
    outs = SecretProvider().create(INPUTS).outs
    update(outs, values={"API_KEY": "sk-second"})
    assert "sk-first" not in secret.values()
    assert secret[SHA256_VARIABLE] == digest("sk-first").hex()
    assert 595 < float(secret[UNTIL_VARIABLE]) - time.time() <= 600.1
    assert PreviousKey(secret).is_key_of(digest("sk-first"))
    assert not PreviousKey(secret).is_key_of(digest("sk-second"))


def test_a_rotation_that_was_interrupted_tells_the_same_again(secret: dict[str, str]) -> None:
    outs = SecretProvider().create(INPUTS).outs
    for _ in range(2):  # the first one's outcome never reached the state
        update(outs, values={"API_KEY": "sk-second"})
    assert PreviousKey(secret).is_key_of(digest("sk-first"))


def test_other_changes_leave_the_end_where_it_was(secret: dict[str, str]) -> None:
    outs = update(SecretProvider().create(INPUTS).outs, values={"API_KEY": "sk-second"})
    told = dict(secret)
    outs = update(outs, stack="org/project/renamed")
    assert secret.items() >= {name: told[name] for name in (SHA256_VARIABLE, UNTIL_VARIABLE)}.items()
    assert secret[ownership.secret_mark("org/project/renamed")] == "org/project/renamed"


def test_without_grace_nobody_is_told(secret: dict[str, str]) -> None:
    outs = update(SecretProvider().create(INPUTS).outs, values={"API_KEY": "sk-second"})
    outs = update(outs, grace=0.0)  # ended early, the key stays
    assert NOBODY.items() <= secret.items()
    assert secret["API_KEY"] == "sk-second"
    update(outs, values={"API_KEY": "sk-third"})
    assert NOBODY.items() <= secret.items()


def test_a_key_that_was_given_stays_when_it_is_given_no_longer() -> None:
    provider = ApiKeyProvider()
    given = provider.create({"rotation": 0, "given": "sk-of-a-team"}).outs
    assert given["value"] == "sk-of-a-team"
    assert provider.update("id", given, {"rotation": 0, "given": None}).outs["value"] == "sk-of-a-team"
    assert provider.update("id", given, {"rotation": 0, "given": "sk-another"}).outs["value"] == "sk-another"
    assert provider.create({"rotation": 1, "given": None}).outs["value"].startswith("sk-")
