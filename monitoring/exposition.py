"""Several replicas' metrics as one exposition in Prometheus' text format, each series labelled with its origin."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

_SAMPLE = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_SUFFIXES = ("_bucket", "_sum", "_count", "_created")
START = "glm_serving_start_seconds"


def replica_of(text: str) -> str:
    """A short name for the replica that answered: its start's phases, in milliseconds, are nobody else's."""
    lines = [line for line in text.splitlines() if line.startswith(START + "{")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8] if lines else "unknown"


def total_of(text: str, name: str) -> float:
    """The sum of a metric's samples; 0 where there is none."""
    found = (_SAMPLE.match(line) for line in text.splitlines())
    return sum(float(match["value"]) for match in found if match and match["name"] == name)


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def merged(texts: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """`texts` by replica. Every sample gets `labels` and `replica`; a family's samples stay together, as the format
    asks. A label of the engine's own that has one of these names becomes `exported_…`."""
    return _grouped((line, {**labels, "replica": name}) for name, text in texts.items() for line in text.splitlines())


def regrouped(text: str) -> str:
    """The same samples, each family's together and described once."""
    return _grouped((line, {}) for line in text.splitlines())


def _grouped(lines: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Of lines, each with the labels that its sample gets."""
    heads: dict[str, dict[str, str]] = {}
    samples: dict[str, list[str]] = {}
    for line, added in lines:
        if line.startswith(("# HELP ", "# TYPE ")):
            _, kind, family, *_ = line.split(" ", 3)
            heads.setdefault(family, {}).setdefault(kind, line)
            samples.setdefault(family, [])
        elif match := _SAMPLE.match(line):
            family = _family(match["name"], heads)
            samples.setdefault(family, []).append(_labelled(match, added))
    found = [line for family, rows in samples.items() for line in (*heads.get(family, {}).values(), *rows)]
    return "\n".join(found) + "\n" if found else ""


def _family(name: str, known: Mapping[str, object]) -> str:
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in known:
            return name.removesuffix(suffix)
    return name


def _labelled(match: re.Match[str], added: Mapping[str, str]) -> str:
    own = match["labels"] or ""
    for name in added:
        own = re.sub(rf'(^|,){name}="', rf'\1exported_{name}="', own)
    inside = ",".join([*(f'{name}="{escaped(value)}"' for name, value in added.items()), *([own] if own else [])])
    return f"{match['name']}{{{inside}}} {match['value']}" if inside else f"{match['name']} {match['value']}"


def gauges(rows: Iterable[tuple[str, str, Mapping[str, str], float | None]]) -> str:
    """Name, help, labels, value; a value of None is left out."""
    lines: list[str] = []
    for name, text, labels, value in rows:
        if value is None:
            continue
        if f"# TYPE {name} gauge" not in lines:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        inside = ",".join(f'{key}="{escaped(found)}"' for key, found in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.10g}")
    return "\n".join(lines) + "\n" if lines else ""
