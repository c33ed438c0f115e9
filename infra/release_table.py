"""Release records as text: the list of all, one whole, and what differs between two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.dynamic import Properties

if TYPE_CHECKING:
    from infra.releases import History

_TITLES = (
    "",
    "VERSION",
    "RELEASE",
    "WHEN (UTC)",
    "TEST",
    "CONFIG",
    "MODEL",
    "ENGINE",
    "GPU",
    "MIN–MAX",
    "QUALITY",
    "BY",
)
_NOT_COMPARED = (
    *("file", "format", "at", "by", "quality.answers", "quality.release", "quality.version"),
    *("quality.against", "quality.againstVersion", "quality.compared"),
)
"""Says nothing about what a version is, or is in the heading."""


def listed(history: History) -> Iterator[str]:
    place, serving = history.place, history.serving
    if not history.records:
        yield f"{place.app}: no release record in volume {place.volume}; `pulumi up --stack {history.stack}` writes one"
        return
    marks = ["→" if r is serving else "" if history.of_this_app(r) else "·" for r in history.records]
    yield from _aligned([_TITLES, *map(_row, marks, history.records)])
    if "·" in marks:
        yield "  · of an app that was stopped since, to be named by its release"
    failed = [record for record in history.records if record["status"] == "failed"]
    for record in failed:
        yield f"  {record['version']} failed: {record.get('reason')}"
    if history.live is None:
        yield f"  {place.app} is not deployed now"
    elif any(record["version"] == history.live.version for record in failed):
        yield f"  version {history.live.version} is the one deployed now"
    elif serving is None:
        yield f"  version {history.live.version} serves, of which there is no record"
    elif serving["version"] != history.live.version:
        yield f"  version {serving['version']} serves, as version {history.live.version}"


def shown(_history: History, record: Properties) -> Iterator[str]:
    yield json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False)


def compared(_history: History, one: Properties, other: Properties) -> Iterator[str]:
    left, right = _flat(one), _flat(other)
    names = sorted({*left, *right}, key=lambda name: (name not in left, list(left).index(name) if name in left else 0))
    rows = [(name, left.get(name, "–"), right.get(name, "–")) for name in names if left.get(name) != right.get(name)]
    yield from _aligned([("", _title(one), _title(other)), *rows])
    if not rows:
        yield "nothing differs"


def _row(mark: str, record: Properties) -> tuple[str, ...]:
    config, quality, scaling = record.get("config"), record.get("quality"), record["scaling"]
    answers = "–"
    if quality:
        answers = f"{quality['right']}/{quality['asked']}"
        if quality.get("meanDrop") is not None:
            answers += f" {0 - quality['meanDrop']:+.3f}"
    return (
        mark,
        str(record["version"]),
        record["release"],
        record["at"][:16].replace("T", " "),
        _test(record),
        f"{config['commit'][:9]}{'+' if config['dirty'] else ''}" if config else "–",
        record["model"]["commit"][:9],
        f"{record['engine']['name']} {record['engine']['version']}",
        record["gpu"],
        f"{scaling['minContainers']}–{scaling['maxContainers']}",
        answers,
        record["by"],
    )


def _test(record: Properties) -> str:
    if record["status"] == "passed":
        return f"{record['smokeTest']['seconds']:g} s"
    if record["status"] == "restored":
        return f"restores {record['restores']}"
    return str(record["status"])


def _title(record: Properties) -> str:
    return f"version {record['version']}, {record['at'][:16].replace('T', ' ')}, {record['by']}"


def _flat(record: Properties, prefix: str = "") -> dict[str, str]:
    """Values by dotted name; a list is one value."""
    found: dict[str, str] = {}
    for name, value in record.items():
        path = f"{prefix}{name}"
        if path in _NOT_COMPARED or value is None:
            continue
        if isinstance(value, dict):
            found |= _flat(value, f"{path}.")
        else:
            found[path] = _text(value)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
