"""What an image's registry tag brings along on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LOCAL = Path(__file__).parents[2]
"""The folder `local/`."""


@dataclass(frozen=True)
class Brings:
    pattern: re.Pattern[str]
    python_path: tuple[Path, ...] = ()
    """Site folders whose packages stand in for what the real image has installed."""
    bin_path: tuple[Path, ...] = ()
    """Folders of its commands, which go in front of PATH."""
    data_path: tuple[Path, ...] = ()
    """Folders that those packages read. A container sees them even where the repository lies under /tmp or /root."""


_ENGINES = LOCAL / "engines"
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
    ),
    Brings(re.compile(r"(docker\.io/)?(library/)?(python|debian|ubuntu)(:[\w.-]+)?")),
    Brings(re.compile(r"(docker\.io/)?nvidia/cuda:[\w.-]+")),
)


def look_up(tag: str) -> Brings | None:
    """None for a tag that this machine has no stand-in for: such an image fails to build."""
    bare = tag.split("@", 1)[0]
    return next((brings for brings in _KNOWN if brings.pattern.fullmatch(bare)), None)
