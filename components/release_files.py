"""Release records: one JSON file for each deploy, in the weights volume, written once and never changed.

`releases/<app>/<time>-<release>-<status>.json`. They outlive the stack where its weights do, and go with the volume.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from components import modal_api
from components.dynamic import Properties

FORMAT = 1
REPOSITORY = Path(__file__).resolve().parent.parent

Status = Literal["passed", "failed", "untested", "restored"]
"""`failed`: its smoke test; `untested`: deployed with `smokeTest: never`; `restored`: put back by hand."""


@dataclass(frozen=True)
class Place:
    environment: str
    volume: str
    app: str

    @property
    def folder(self) -> str:
        return f"releases/{self.app}"


def write(place: Place, status: Status, record: Properties) -> Properties:
    """Files the record with who, when and from which commit of this repository; returns it. One upload, all or none."""
    now = datetime.now(UTC)
    full = {
        "format": FORMAT,
        "status": status,
        "app": place.app,
        "environment": place.environment,
        **record,
        "at": now.isoformat(timespec="seconds"),
        "by": _who(),
        "config": config_commit(REPOSITORY),
    }
    path = f"{place.folder}/{now:%Y%m%dT%H%M%S%f}Z-{record['release']}-{status}.json"
    content = json.dumps(_plain(full), indent=1, sort_keys=True) + "\n"
    modal_api.write_volume_file(place.environment, place.volume, path, content.encode())
    return {**full, "file": path}


def read_all(place: Place) -> list[Properties]:
    """All records, the oldest first; files that are none are left out."""
    with ThreadPoolExecutor(max_workers=8) as pool:  # each is a question to Modal, and there may be hundreds
        records = list(pool.map(partial(_read, place), _names(place)))
    return [record for record in records if record]


def last_quality(place: Place) -> Properties | None:
    """The quality figures of the last deploy that passed and has some; None where there is none."""
    for name in reversed(_names(place)):
        if name.endswith("-passed.json") and (figures := (_read(place, name) or {}).get("quality")):
            return figures
    return None


def _names(place: Place) -> list[str]:
    """The oldest first: a name begins with the time."""
    return sorted(modal_api.list_volume_files(place.environment, place.volume, place.folder))


def _read(place: Place, name: str) -> Properties | None:
    path = f"{place.folder}/{name}"
    content = modal_api.read_volume_file(place.environment, place.volume, path)
    try:
        record = json.loads(content or b"")
    except ValueError:
        return None
    return {**record, "file": path} if isinstance(record, dict) and record.get("format") == FORMAT else None


def config_commit(folder: Path) -> Properties | None:
    """`{commit, dirty}` of the git checkout that the stack is deployed from; None where it is none."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return {"commit": head.strip(), "dirty": bool(_git(folder, "status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _who() -> str:
    """Who started it: GitHub's actor in a workflow, else the user of this machine."""
    if actor := os.environ.get("GITHUB_ACTOR"):
        return f"{actor} (GitHub)"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _plain(value: Any) -> Any:
    """Whole numbers as such: Pulumi hands every number over as a float."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
