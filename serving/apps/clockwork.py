"""How a function is declared that the clock starts: on the smallest container there is, for seconds at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import modal

from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE
from serving.recipe_sections import Data


def timed(
    app: modal.App, params: Data, cron: str, timezone: str, tries: int = 1
) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a function of the app. `tries` within a minute, since nothing comes of what is missed."""
    return app.function(
        image=modal.Image.debian_slim(python_version="3.11")
        # The time zones of the system may be older, or not there.
        .pip_install("pydantic==2.14.3", "tzdata==2026.6")
        .add_local_python_source("serving"),
        env={PARAMS_VARIABLE: params.model_dump_json(by_alias=True)},
        schedule=modal.Cron(cron, timezone=timezone),
        cpu=0.125,
        memory=128,
        timeout=300,
        retries=modal.Retries(max_retries=tries - 1, initial_delay=5.0, backoff_coefficient=2.0) if tries > 1 else None,
        max_containers=1,
        scaledown_window=2,
    )


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """What a function says on purpose reaches its log without the frames that Modal prints of an exception."""
    try:
        yield
    except ServingError:
        sys.tracebacklimit = 0
        raise
