"""A check that runs beside the engine's start instead of before it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from serving.errors import ServingError


class SideCheck:
    """Starts at construction. `on_failure` is called as soon as `check` has raised ServingError or OSError."""

    def __init__(self, check: Callable[[], object], on_failure: Callable[[], None]) -> None:
        self._check = check
        self._on_failure = on_failure
        self.failure: ServingError | None = None
        self._thread = threading.Thread(target=self._run, name="side-check", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._check()
        except ServingError as error:
            self.failure = error
        except OSError as error:
            self.failure = ServingError(f"cannot read {error.filename}: {error.strerror}. Next: pulumi up")
        if self.failure:
            self._on_failure()

    def wait(self, seconds: float | None = None) -> None:
        """Until the check is over, or for that long. Raises what it found wrong."""
        self._thread.join(seconds)
        if self.failure:
            raise self.failure
