"""Property values and their differences as the CLI prints them; secrets are never shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from local.pulumi_engine.properties import UNKNOWN, Secret, masked

SIGNS = {"add": "+", "delete": "-", "update": "~"}


def shown(value: Any, indent: int) -> str:
    """One value; `indent` is the column of the line that it stands on."""
    match value:
        case Secret():
            return "[secret]"
        case dict() if value:
            return "\n".join(["{", *property_lines(None, value, indent + 4), " " * indent + "}"])
        case list() if value:
            pad = " " * (indent + 4)
            items = [f"{pad}[{place}]: {shown(item, indent + 4)}" for place, item in enumerate(value)]
            return "\n".join(["[", *items, " " * indent + "]"])
    return "[unknown]" if value is UNKNOWN else json.dumps(value, ensure_ascii=False)


def property_lines(
    old: Mapping[str, Any] | None, new: Mapping[str, Any], indent: int, *, only_changes: bool = False
) -> list[str]:
    """One line or block for each property; with `old` each is marked with what changes."""
    keys = sorted(key for key in {*(old or {}), *new} if not key.startswith("__"))
    same = [
        key for key in keys if old is not None and key in old and key in new and masked(old[key]) == masked(new[key])
    ]
    if only_changes:  # what was known and will be again is no news
        keys = [key for key in keys if key not in same and not (new.get(key) is UNKNOWN and key in (old or {}))]
    width = max(map(len, keys), default=0)
    lines = []
    for key in keys:
        before, after = (old or {}).get(key), new.get(key)
        sign, text = " ", shown(new.get(key, before), indent)
        if old is not None and key not in same:
            sign = "+" if key not in old else "-" if key not in new else "~"
            if sign == "~" and isinstance(before, dict) and isinstance(after, dict):
                text = "\n".join(["{", *property_lines(before, after, indent + 4), " " * indent + "}"])
            elif sign == "~":
                text = f"{shown(before, indent)} => {shown(after, indent)}"
        lines.append(f"{' ' * (indent - 2)}{sign} {key:<{width}}: {text}")
    return lines


def summary_of(changes: Mapping[str, str]) -> str:
    """`+a,b-c~d`, as behind a resource that changes."""
    groups = {sign: [key for key, kind in changes.items() if kind == name] for name, sign in SIGNS.items()}
    return "".join(sign + ",".join(keys) for sign, keys in groups.items() if keys)
