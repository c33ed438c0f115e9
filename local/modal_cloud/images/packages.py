"""Python packages that an image's layers install: whether containers here have them, since no command is run.

Containers run the interpreter that runs the local cloud, and see what is installed there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from importlib import metadata

_INSTALL = re.compile(r"^RUN\s.*?\b(?:uv\s+)?pip3?\s+install\s+(.*)$", re.DOTALL)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?\s*((?:[<>=!~].*)?)$")
_WITH_VALUE = {"-r", "-c", "-f", "-i", "-e", "--index-url", "--extra-index-url", "--find-links", "--python", "--prefix"}


def report(commands: Iterable[str]) -> list[str]:
    """A line for each package that one of the commands would install."""
    lines = []
    for command in commands:
        found = _INSTALL.match(command)
        for name, wanted in _requirements(found[1]) if found else []:
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                lines.append(f"not run: {wanted} is NOT there: importing it in a container fails")
            else:
                lines.append(f"not run: {wanted}: containers have {name} {version}")
    return lines


def _requirements(arguments: str) -> list[tuple[str, str]]:
    """(name, as it was asked for) each; what is no plain requirement (files, URLs, options) is left out."""
    words = shlex.split(arguments.split("&&")[0].split("|")[0])
    found = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _WITH_VALUE
        elif requirement := _REQUIREMENT.match(word):
            found.append((requirement[1], word))
    return found
