"""Digests of the code that each Modal app runs: another digest is another version of the app.

Only what an app's module imports counts, directly or not: a change to how weights are fetched must not bring up eight
GPUs for a new serving version, nor the reverse.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import serving

PACKAGE = "serving"
_IMPORT = re.compile(
    rf"^[ \t]*(?:from\s+({PACKAGE}(?:\.\w+)*)\s+import\s+(\([^)]*\)|[^\n]+)|import\s+({PACKAGE}(?:\.\w+)+))",
    re.MULTILINE,
)
_NAME = re.compile(r"\w+")


def source_digest(module: str) -> str:
    """SHA-256 over the names and contents of the `serving` modules that `module` needs, itself included."""
    digest = hashlib.sha256()
    for name, path in sorted(source_files(module).items()):
        digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def source_files(module: str) -> dict[str, Path]:
    """The `serving` modules that `module` imports at its top or inside functions, by their dotted names."""
    found: dict[str, Path] = {}
    open_names = [module]
    while open_names:
        name = open_names.pop()
        path = _file_of(name)
        if path is None or name in found:
            continue
        found[name] = path
        if path.name == "__init__.py" and name != PACKAGE:
            # A package may pick one of its modules by a name that only a recipe knows.
            open_names += [f"{name}.{sibling.stem}" for sibling in path.parent.glob("*.py") if sibling != path]
        open_names += _imports(path)
    return found


def _file_of(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return None
    assert serving.__file__ is not None
    base = Path(serving.__file__).parent.joinpath(*parts[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _imports(path: Path) -> list[str]:
    # Parsing the 50 files would be a tenth of the time of an `up` that changes nothing.
    names: list[str] = []
    for module, imported, plain in _IMPORT.findall(path.read_text(encoding="utf-8")):
        if plain:
            names.append(plain)
        else:
            names += [module, *(f"{module}.{name}" for name in _NAME.findall(imported))]
    return names
