"""Results on the disk: JSON, the table and the plot beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.endpoint.plot import panels, svg
from benchmarks.endpoint.table import head, markdown

FORMAT = 1


class ResultsError(Exception):
    """Which file, what is wrong with it and what to do; ready to print."""


def write(folder: Path, result: dict[str, Any], name: str | None = None) -> list[Path]:
    """`NAME.json`, `.md` and `.svg`; without a name they are called after the model and the time (UTC)."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = "".join(c for c in result["when"][:19] if c.isdigit())
    base = folder / (name or f"{result['model'].replace('/', '-')}-{stamp}")
    texts = {
        ".json": json.dumps(result, indent=1) + "\n",
        ".md": markdown(result) + "\n",
        ".svg": svg(head(result), panels([("", result)])),
    }
    paths = []
    for suffix, text in texts.items():
        path = base.with_name(base.name + suffix)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def read(path: Path) -> dict[str, Any]:
    """Raises ResultsError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; give two JSON files that the benchmark wrote") from None
    except ValueError:
        raise ResultsError(f"{path} is no JSON; give two JSON files that the benchmark wrote") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ResultsError(f"{path} has no results of this benchmark; give two JSON files that it wrote")
    return found
