"""Failures of the Hugging Face Hub: which may succeed next time, and what to tell about the others."""

from __future__ import annotations

import contextlib
import email.utils
import os
import time
from collections.abc import Iterator

from serving.disk_full import disk_full, is_disk_full
from serving.errors import ServingError
from serving.recipe import Recipe

_RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Temporary(Exception):
    """May succeed next time. `wait` is what the Hub asked for, in seconds, where it said so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def translate(error: Exception, recipe: Recipe, revision: str, *, has_token: bool) -> Exception:
    """`Temporary`, a ServingError that says what to do, or `error` itself where it is neither (a bug)."""
    from huggingface_hub import errors

    otherwise: Exception = error
    for cause in _chain(error):
        if isinstance(cause, ServingError | Temporary):
            return cause
        if isinstance(cause, errors.LocalEntryNotFoundError):
            # "The Hub can't be reached and nothing is cached": its own cause, if there is one, says more.
            otherwise = Temporary(_first_line(cause))
            continue
        if is_disk_full(cause):
            needed = f"{recipe.model.size_gb:g} GB"
            return disk_full("weights", recipe.volumes.weights.name, folder="old commit", needed=needed)
        if isinstance(cause, errors.GatedRepoError):
            return _gated(recipe)
        if isinstance(cause, errors.RevisionNotFoundError):
            return ServingError(
                f"weights: {recipe.model.repo} has no revision {revision!r}. "
                f"Next: correct model.revision in the recipe {recipe.name}, then pulumi up"
            )
        if isinstance(cause, errors.HfHubHTTPError):
            return _by_status(cause, recipe, has_token)
        if _is_lost_connection(cause):
            return Temporary(f"{cause.__class__.__name__}: {_first_line(cause) or 'connection lost'}")
    return otherwise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _is_lost_connection(error: BaseException) -> bool:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return True  # fewer bytes than announced
    # The Hub client's HTTP library, whichever it is in this release (httpx, httpx2), and the Xet client's own errors.
    module = error.__class__.__module__.split(".")[0]
    if module.startswith("httpx"):
        names = {cls.__name__ for cls in error.__class__.__mro__}
        return "TransportError" in names or "StreamError" in names
    return module == "hf_xet" or (isinstance(error, RuntimeError) and "xet" in str(error).lower())


def _by_status(error: Exception, recipe: Recipe, has_token: bool) -> Exception:
    response = error.response  # type: ignore[attr-defined]
    status: int = response.status_code
    secret, repo = recipe.secrets.hugging_face, recipe.model.repo
    if status in _RETRYABLE_STATUSES or status >= 500:
        return Temporary(f"the Hub answers {status}", _retry_after(response.headers.get("Retry-After")))
    set_token = "pulumi config set --secret hfToken hf_… && pulumi up"
    if status == 401:
        if not has_token:
            return ServingError(
                f"weights: the Hub wants a token for {repo} (401) and {secret.key} of the Modal secret {secret.name} "
                f"is missing. Next: {set_token}"
            )
        return ServingError(
            f"weights: the Hub refuses the token for {repo} (401): {secret.key} of the Modal secret {secret.name} is "
            f"invalid or expired. Next: {set_token}"
        )
    if status == 403:
        return _gated(recipe)
    if status == 404:
        return ServingError(
            f"weights: the Hub knows no repository {repo} that this token may read (404). "
            f"Next: correct model.repo in the recipe {recipe.name}, then pulumi up"
        )
    return ServingError(
        f"weights: the Hub answers {status} for {repo}: {_first_line(error)[:200]}. Next: check the repository's page"
    )


def _gated(recipe: Recipe) -> ServingError:
    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{recipe.model.repo}"
    secret = recipe.secrets.hugging_face
    return ServingError(
        f"weights: {recipe.model.repo} is gated and the account of {secret.key} (Modal secret {secret.name}) has no "
        f"access (403). Next: accept the licence at {page} with that account, then pulumi up"
    )


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
    if value:
        with contextlib.suppress(ValueError):
            return max(0.0, float(value))
        with contextlib.suppress(ValueError):
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
