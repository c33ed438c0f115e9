"""What an image's registry tag brings along on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LOCAL = Path(__file__).parents[2]
"""The folder `local/`."""


@dataclass(frozen=True)
class Flaw:
    """Something wrong with a real image, which the stand-in in it shows until a command of the image's layers mends
    it: the local cloud runs no commands, but it reads them."""

    name: str
    tags: re.Pattern[str]
    mended_by: re.Pattern[str]


@dataclass(frozen=True)
class Brings:
    pattern: re.Pattern[str]
    python_path: tuple[Path, ...] = ()
    """Site folders whose packages stand in for what the real image has installed."""
    bin_path: tuple[Path, ...] = ()
    """Folders of its commands, which go in front of PATH."""
    data_path: tuple[Path, ...] = ()
    """Folders that those packages read. A container sees them even where the repository lies under /tmp or /root."""
    flaws: tuple[Flaw, ...] = ()


_ENGINES = LOCAL / "engines"
_TYPING_EXTENSIONS = Flaw(
    # A single-file module of an old release, which hides whatever pip installs beside it.
    "typing_extensions",
    re.compile(r"glm52(-cu129)?"),
    re.compile(r"rm .*/dist-packages/typing_extensions\.py"),
)
_FLAGS = LOCAL.parent / "recipes" / "flags"
_KNOWN = (
    Brings(
        re.compile(r"(docker\.io/)?lmsysorg/sglang:[\w.-]+"), (_ENGINES / "shared", _ENGINES / "sglang"), (), (_FLAGS,)
    ),
    Brings(
        re.compile(r"(docker\.io/)?vllm/vllm-openai:[\w.-]+"),
        (_ENGINES / "shared", _ENGINES / "vllm"),
        bin_path=(_ENGINES / "vllm" / "bin",),
        data_path=(_FLAGS,),
        flaws=(_TYPING_EXTENSIONS,),
    ),
    Brings(re.compile(r"(docker\.io/)?(library/)?(python|debian|ubuntu)(:[\w.-]+)?")),
    Brings(re.compile(r"(docker\.io/)?nvidia/cuda:[\w.-]+")),
)


def look_up(tag: str) -> Brings | None:
    """None for a tag that this machine has no stand-in for: such an image fails to build."""
    bare = tag.split("@", 1)[0]
    return next((brings for brings in _KNOWN if brings.pattern.fullmatch(bare)), None)


def flaws_left(tag: str, brings: Brings, commands: Iterable[str]) -> tuple[str, ...]:
    """Names of the image's flaws that none of its layers' commands mends."""
    name, said = tag.rsplit(":", 1)[-1], list(commands)
    return tuple(
        flaw.name
        for flaw in brings.flaws
        if flaw.tags.fullmatch(name) and not any(flaw.mended_by.search(command) for command in said)
    )
