"""Reading a file of this project's in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_yaml(path: Path) -> Any:
    """Raises OSError, or yaml.YAMLError and ValueError for what is no YAML."""
    import yaml

    # libyaml reads a recipe in 2 ms where PyYAML's own parser takes 25, and every `pulumi up` reads three such files.
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
