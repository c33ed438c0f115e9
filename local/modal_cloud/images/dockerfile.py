"""The few Dockerfile instructions that matter at run time: FROM, ENV, WORKDIR."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Layer:
    tag: str | None = None
    """FROM another image's tag; None where the layer builds on `FROM base`."""
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str | None = None


def read(commands: Iterable[str], inherited: Mapping[str, str]) -> Layer:
    """`inherited` is the environment of the layers below, for `$NAME` in values."""
    layer = Layer()
    for command in commands:
        instruction, _, rest = command.strip().partition(" ")
        match instruction.upper():
            case "FROM":
                words = [word for word in rest.split() if not word.startswith("--")]
                layer.tag = words[0] if words and words[0] != "base" else None
            case "ENV":
                # All assignments of one line see the values from before the line.
                known = {**inherited, **layer.environment}
                layer.environment.update(_assignments(rest.strip(), known))
            case "WORKDIR":
                layer.workdir = rest.strip().strip("'\"")
    return layer


def _assignments(text: str, known: Mapping[str, str]) -> dict[str, str]:
    name, _, value = text.partition(" ")
    if "=" not in name:
        return {name: _expand(value.strip(), known)}
    pairs = (word.partition("=") for word in shlex.split(text))
    return {key: _expand(value, known) for key, _, value in pairs}


def _expand(value: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: known.get(match[1] or match[2], ""), value)
