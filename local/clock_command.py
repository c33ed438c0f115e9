"""`python -m local clock …`: the local cloud's clock, which tests move on, from outside."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.control_api import Refused, ask
from local.installation import Installation

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 900.0
"""Seconds of the machine's time that a step may take: on the way everything due runs."""


@dataclass(frozen=True)
class Clock:
    """The clock of a cloud that runs."""

    url: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, folder: Path | str) -> Clock:
        installation = Installation.open(Path(folder))
        return cls(f"http://127.0.0.1:{installation.http_port}/control/clock", installation.token_secret)

    def now(self) -> datetime:
        """Of the cloud, as UTC. Raises Refused."""
        return datetime.fromtimestamp(self._ask()["now"], UTC)

    def advance(self, seconds: float, skip: bool = False) -> list[dict[str, Any]]:
        """Moves it on; what was due on the way: `at` (Unix seconds), `app`, `function`, `call_id`. With `skip` that is
        left out. Raises Refused."""
        fired: list[dict[str, Any]] = self._ask({"seconds": seconds, "skip": skip})["fired"]
        return fired

    def advance_to(self, moment: datetime, skip: bool = False) -> list[dict[str, Any]]:
        """To a moment (with a time zone) that is yet to come. Raises Refused."""
        seconds = (moment - self.now()).total_seconds()
        if seconds < 0:
            raise Refused(f"the cloud's clock is past {moment.isoformat()} and never goes back")
        return self.advance(seconds, skip)

    def _ask(self, document: dict[str, Any] | None = None) -> Any:
        return ask(self.url, self.secret, "POST" if document else "GET", document, seconds=_LONGEST)


def add(commands: Any, default_folder: Path) -> None:
    command: argparse.ArgumentParser = commands.add_parser(
        "clock", help="the cloud's time; `clock 12h` or `clock 2027-03-28T09:00+02:00` moves it on"
    )
    command.add_argument(
        "to", nargs="?", help="how far (90s, 14m, 12h, 3d) or until when (ISO 8601; UTC where it says none)"
    )
    command.add_argument("--skip", action="store_true", help="what is due on the way is left out")
    command.add_argument("--dir", type=Path, default=default_folder, help="its folder ($LOCAL_DIR, or .local)")


def run(options: argparse.Namespace) -> int:
    """Raises Refused."""
    clock = Clock.of(options.dir.absolute())
    if options.to:
        for firing in _advance(clock, options.to, options.skip):
            at = datetime.fromtimestamp(firing["at"], UTC)
            print(f"{at:%Y-%m-%d %H:%M:%S}Z  {firing['app']}/{firing['function']}")
    print(f"{clock.now():%Y-%m-%d %H:%M:%S}Z")
    return 0


def _advance(clock: Clock, to: str, skip: bool) -> list[dict[str, Any]]:
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", to):
        return clock.advance(float(match[1]) * _UNITS[match[2]], skip)
    try:
        moment = datetime.fromisoformat(to)
    except ValueError:
        raise Refused(f"{to!r} is neither a length (90s, 14m, 12h, 3d) nor a time (2027-03-28T09:00+02:00)") from None
    return clock.advance_to(moment if moment.tzinfo else moment.replace(tzinfo=UTC), skip)
