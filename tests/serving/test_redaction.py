from __future__ import annotations

import pickle

import pytest

from serving.errors import ServingError
from serving.redaction import Redactor

KEY = "k3y/with+odd=chars'and\"quotes"


@pytest.mark.parametrize(
    "line",
    [
        f"got {KEY} here",
        f"ServerArgs(api_key={KEY!r}, tp_size=8)",
        '{"api_key": "k3y/with+odd=chars\'and\\"quotes"}',
        "https://x/?key=k3y%2Fwith%2Bodd%3Dchars%27and%22quotes",
    ],
)
def test_a_known_secret_disappears_in_every_spelling(line: str) -> None:
    cleaned = Redactor([KEY])(line)
    assert "k3y" not in cleaned
    assert "***" in cleaned


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("ServerArgs(api_key='abc', tp_size=8)", "ServerArgs(api_key='***', tp_size=8)"),
        ('ServerArgs(api_key="a\'c", x=1)', "ServerArgs(api_key='***', x=1)"),
        ("admin_api_key='q\\'z', api_key=None", "admin_api_key='***', api_key=None"),
        ("sglang --api-key s3cret --tp 8", "sglang --api-key *** --tp 8"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("token hf_abcdefghijklmnopqrstuvwxyz", "token hf_***"),
        ('api-key: "x y"', "api-key: '***'"),
    ],
)
def test_an_unknown_secret_is_recognised_by_its_place(line: str, cleaned: str) -> None:
    assert Redactor()(line) == cleaned


def test_empty_secrets_change_nothing() -> None:
    line = "[2026-11-21 10:44:02] The server is fired up and ready to roll! api_key=None"
    assert Redactor(["", None])(line) == line


def test_a_secret_inside_another_does_not_leave_a_rest() -> None:
    assert Redactor(["abc", "abcdef"])("x abcdef y abc") == "x *** y ***"


def test_a_serving_error_is_one_line_and_travels() -> None:
    error = ServingError("weights: broken\n  in two   lines. Next: pulumi up")
    assert str(error) == "weights: broken in two lines. Next: pulumi up"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ServingError
    assert str(again) == str(error)
