"""Release records of a stack: what was deployed when, what differs, and putting a version back into service.

python -m infra.releases STACK list
python -m infra.releases STACK show N
python -m infra.releases STACK compare A B
python -m infra.releases STACK restore N

N is a version of the app as `list` and Modal number them, or the beginning of a release's name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import release_files
from components.dynamic import DeploymentError, Properties
from components.release_files import Place
from infra import release_restore, release_table
from infra.settings import Settings, SettingsError
from infra.stack_file import StackFileError, settings_of

USAGE = "usage: python -m infra.releases STACK list | show N | compare A B | restore N"


class ReleaseError(Exception):
    """What is wrong and what to type next, ready to print."""


@dataclass(frozen=True)
class History:
    """A stack's records, the oldest first, and the app as Modal has it now."""

    stack: str
    settings: Settings
    place: Place
    records: list[Properties]
    live: Any
    """modal_api.LiveApp, or None where no app is deployed."""

    @property
    def serving(self) -> Properties | None:
        """The record of what serves, None where there is none of it."""
        if self.live is None:
            return None
        for record in reversed(list(filter(self.of_this_app, self.records))):
            if record["version"] == self.live.version and record["status"] != "failed":
                return record
            back = record.get("rolledBackTo") or {}
            if back.get("as") == self.live.version:
                return self._of_version(back["version"])
        return None

    def chosen(self, name: str) -> Properties:
        """The record of a version (`3`, `v3`; of the app's present life) or of a release. Raises ReleaseError."""
        digits = name.removeprefix("v")
        found = None
        if digits.isdecimal() and len(digits) < 6:
            found = self._of_version(int(digits))
        if found is None:
            found = next((record for record in reversed(self.records) if record["release"].startswith(name)), None)
        if found is None:
            raise ReleaseError(
                f"{self.place.app} has no record of {name}; `python -m infra.releases {self.stack} list` has them all"
            )
        return found

    def of_this_app(self, record: Properties) -> bool:
        """A stopped app that is deployed again is another one, whose versions begin at 1."""
        app_id = self.live.app_id if self.live else self.records[-1]["appId"]
        return bool(record["appId"] == app_id)

    def _of_version(self, version: int) -> Properties | None:
        """The latest; a test that failed counts where none of the version has passed."""
        found = [r for r in self.records if r["version"] == version and self.of_this_app(r)]
        return next((r for r in reversed(found) if r["status"] != "failed"), found[-1] if found else None)


def read(stack: str, folder: Path) -> History:
    """Reads the stack's file in that folder and its records. Raises ReleaseError, SettingsError or DeploymentError."""
    from components import modal_api

    try:
        settings = settings_of(stack, folder)
    except StackFileError as error:
        raise ReleaseError(str(error)) from None
    place = Place(settings.environment, settings.recipe.volumes.weights.name, settings.recipe.app)
    return History(
        stack, settings, place, release_files.read_all(place), modal_api.find_app(place.environment, place.app)
    )


TASKS: dict[tuple[str, int], Callable[..., Iterator[str]]] = {
    ("list", 0): release_table.listed,
    ("show", 1): release_table.shown,
    ("compare", 2): release_table.compared,
    ("restore", 1): release_restore.restored,
}
"""What a verb does, by how many records it takes."""


def main(arguments: list[str]) -> int:
    stack, verb, *names = [*arguments, "list"] if len(arguments) == 1 else arguments or ["", ""]
    task = TASKS.get((verb, len(names)))
    if task is None:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        history = read(stack, Path.cwd())
        for line in task(history, *map(history.chosen, names)):
            print(line, flush=True)
    except (ReleaseError, SettingsError, DeploymentError, release_restore.RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
