"""`python -m local trace`: the last RPCs that the cloud answered, and with --follow those that come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from local.control_api import Refused, ask
from local.installation import Installation

_WAIT = 20.0
"""Seconds for which the cloud waits for a next one before it answers."""


def add(commands: Any, default_folder: Path) -> None:
    command: argparse.ArgumentParser = commands.add_parser(
        "trace", help="the last RPCs: time, caller, name, milliseconds, status"
    )
    command.add_argument("-f", "--follow", action="store_true", help="go on as they come")
    command.add_argument("-n", "--last", type=int, default=50, metavar="N", help="so many of the past (default 50)")
    command.add_argument("--rpc", default="*", help="only these: name or pattern, such as 'Volume*'")
    command.add_argument("--failed", action="store_true", help="only those that did not end with OK")
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    command.add_argument("--dir", type=Path, default=default_folder, help="its folder ($LOCAL_DIR, or .local)")


def run(options: argparse.Namespace) -> int:
    """Raises Refused."""
    installation = Installation.open(options.dir.absolute())
    for record in records(installation, options.rpc, options.failed, max(options.last, 0), options.follow):
        print(json.dumps(record) if options.json else _line(record), flush=True)
    return 0


def records(
    installation: Installation, rpc: str = "*", failed: bool = False, last: int = 50, follow: bool = False
) -> Iterator[dict[str, Any]]:
    """Records of `modal_cloud.watching.trace` with their `caller` in words: the last ones, then (`follow`) for ever
    those that come. Raises Refused once the cloud does not answer."""

    def wanted(record: dict[str, Any]) -> bool:
        return fnmatchcase(record["rpc"], rpc) and not (failed and record["status"] == "OK")

    life, found = _ask(installation, 0, 0.0)
    number = found[-1]["number"] if found else 0
    past = [record for record in found if wanted(record)]
    yield from past[len(past) - min(last, len(past)) :]
    while follow:
        now, found = _ask(installation, number, _WAIT)
        if now != life:
            life, found = _ask(installation, 0, 0.0)
        number = found[-1]["number"] if found else number
        yield from filter(wanted, found)


def _ask(installation: Installation, after: int, seconds: float) -> tuple[int, list[dict[str, Any]]]:
    url = f"http://127.0.0.1:{installation.http_port}/control/trace?after={after}&seconds={seconds:g}"
    answer = ask(url, installation.token_secret, "GET", seconds=seconds + 10)
    if "records" not in answer:
        raise Refused(f"{url} answers something else")
    return answer["life"], answer["records"]


def _line(record: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(record["at"]).strftime("%H:%M:%S.%f")[:-3]
    return f"{moment}  {record['rpc']:<34} {record['milliseconds']:>9.1f} ms  {record['status']:<18} {record['caller']}"
