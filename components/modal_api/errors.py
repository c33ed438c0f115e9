"""What Modal refuses or does not answer, as one line for a person."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from components.dynamic import DeploymentError, say

P = ParamSpec("P")
T = TypeVar("T")
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try where Modal gives no answer. The SDK itself tries each RPC four times in a second."""

_SHOWN_AS = ("builtins", "DeploymentError")
"""Where an error ends at the terminal, its kind says nothing to a person: Pulumi puts one name in front of them all."""


class Absent(DeploymentError):
    """What was asked for does not exist on Modal."""

    __module__, __qualname__ = _SHOWN_AS


class Unreachable(DeploymentError):
    """No answer from Modal: whatever was asked about may well go on there."""

    __module__, __qualname__ = _SHOWN_AS
    may_pass = False
    """Modal is there and answered with an error of its own: worth asking again at once."""


class CallFailed(DeploymentError):
    """The function ended with an error: unlike a lost connection, nothing is left that one could attach to."""

    __module__, __qualname__ = _SHOWN_AS


class CallGone(Exception):
    """Modal no longer knows the call, or has dropped its result."""


def patient(function: Callable[P, T]) -> Callable[P, T]:
    """For functions that are safe to repeat: a failure of Modal's that may pass is waited out, PAUSES long."""

    @functools.wraps(function)
    def asking(*arguments: P.args, **options: P.kwargs) -> T:
        for pause in PAUSES:
            try:
                return function(*arguments, **options)
            except Unreachable as error:
                if not error.may_pass:
                    raise
                reason = str(error).partition("; ")[0]
            say("modal", f"{reason}; asking again in {pause:g} s")
            time.sleep(pause)
        try:
            return function(*arguments, **options)
        except Unreachable as error:
            error.may_pass = False  # who called this need not wait as long again
            raise

    return asking


@contextlib.contextmanager
def explained(doing: str, environment: str) -> Iterator[None]:
    """Turns what the SDK raises into one line a person can act on; what is not there is Absent."""
    from grpclib.exceptions import StreamTerminatedError
    from modal import exception as modal_errors

    again = "then `pulumi up` again: it carries on from here"
    try:
        yield
    except modal_errors.AuthError as error:
        raise DeploymentError(
            f"{doing}: Modal refused the token ({one_line(error)}); run `modal token new`, or set MODAL_TOKEN_ID and "
            f"MODAL_TOKEN_SECRET, {again}"
        ) from None
    except modal_errors.NotFoundError as error:
        # Whatever is missing, the text also names the environment in which it was looked for.
        if re.search(r"^environment\b|environment \S+ (was not found|not found|does not exist)", str(error), re.I):
            raise DeploymentError(
                f"{doing}: Modal has no environment {environment!r}; `modal environment create {environment}`, "
                "then `pulumi up` again"
            ) from None
        raise Absent(f"{doing}: {one_line(error)}; `pulumi up --refresh` makes it anew") from None
    except (modal_errors.ServiceError, modal_errors.InternalError, StreamTerminatedError) as error:
        failure = Unreachable(
            f"{doing}: Modal gave no answer ({one_line(error)}); see https://status.modal.com, {again}"
        )
        failure.may_pass = True
        raise failure from None
    except (modal_errors.ConnectionError, OSError) as error:
        raise Unreachable(
            f"{doing}: cannot reach Modal at {server_url()} ({one_line(error)}); check the network and "
            f"MODAL_SERVER_URL, {again}"
        ) from None
    except modal_errors.ResourceExhaustedError as error:
        raise DeploymentError(f"{doing}: {_limit(one_line(error))}, {again}") from None
    except modal_errors.PermissionDeniedError as error:
        raise DeploymentError(
            f"{doing}: the token may not do this in environment {environment!r} ({one_line(error)}); "
            f"ask a workspace owner, {again}"
        ) from None
    except modal_errors.ImageBuildError as error:
        raise DeploymentError(
            f"{doing}: an image was not built ({one_line(error)}); if the cause is not in the image, as with a "
            f"registry that is down, just `pulumi up` again; else mend it in serving/apps/images.py or the recipe"
        ) from None
    except modal_errors.Error as error:
        raise DeploymentError(f"{doing}: {one_line(error)}; mend the cause, {again}") from None


def _limit(reason: str) -> str:
    """What is used up, and how to get more of it."""
    if re.search(r"spend|billing|budget", reason, re.I):
        return f"Modal starts nothing more ({reason}); raise the workspace's budget in Modal's settings"
    if re.search(r"no space left", reason, re.I):
        return f"{reason}; free space with `modal volume rm`"
    return f"Modal's limit is reached ({reason}); free what is in use or ask Modal for a higher limit"


def one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def server_url() -> str:
    return os.environ.get("MODAL_SERVER_URL", "https://api.modal.com")
