from __future__ import annotations

import errno
import time
from email.utils import formatdate

import httpx2
import pytest
from huggingface_hub import errors

from serving.errors import ServingError
from serving.hub_errors import Temporary, translate
from serving.recipe import Recipe


def answered(status: int, headers: dict[str, str] | None = None) -> errors.HfHubHTTPError:
    request = httpx2.Request("GET", "https://huggingface.co/api/models/x/y")
    return errors.HfHubHTTPError("failed", response=httpx2.Response(status, headers=headers, request=request))


@pytest.mark.parametrize(
    "error",
    [
        *(answered(status) for status in (408, 429, 500, 502, 503, 504)),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("cut off"),
        ConnectionResetError("reset"),
        TimeoutError(),
        OSError("Consistency check failed: file should be of size 5 but has size 3"),
        RuntimeError("Xet: CAS service error"),
        errors.LocalEntryNotFoundError("cannot reach the Hub"),
    ],
)
def test_what_may_pass_is_temporary(error: Exception, recipe: Recipe) -> None:
    assert isinstance(translate(error, recipe, "main", has_token=True), Temporary)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answered(401), "refuses the token"),
        (answered(403), "gated"),
        (answered(404), "knows no repository"),
        (answered(451), "answers 451"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on volume tiny-glm-model-weights"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "no space left"),
    ],
)
def test_what_will_not_pass_tells_what_to_do(error: Exception, words: str, recipe: Recipe) -> None:
    told = translate(error, recipe, "main", has_token=True)
    assert isinstance(told, ServingError)
    assert words in str(told)
    assert "Next: " in str(told)


def test_the_cause_behind_a_wrapper_counts(recipe: Recipe) -> None:
    wrapper = errors.LocalEntryNotFoundError("cannot find an appropriate snapshot folder")
    wrapper.__cause__ = answered(401)
    assert isinstance(translate(wrapper, recipe, "main", has_token=False), ServingError)


def test_a_bug_stays_a_bug(recipe: Recipe) -> None:
    bug = KeyError("x")
    assert translate(bug, recipe, "main", has_token=True) is bug


def test_retry_after_is_seconds_or_a_date(recipe: Recipe) -> None:
    def wait(value: str) -> float | None:
        told = translate(answered(429, {"Retry-After": value}), recipe, "main", has_token=True)
        assert isinstance(told, Temporary)
        return told.wait

    assert wait("17") == 17
    assert wait("soon") is None
    in_a_minute = wait(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute == pytest.approx(60, abs=3)
