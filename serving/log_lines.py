"""What a log line is made of: its text without colours and Modal's prefixes, and whether it warns of something."""

from __future__ import annotations

import re
from typing import Literal

Level = Literal["warning", "error"]

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# `modal app logs --timestamps --show-function-id --show-function-call-id --show-container-id`
_MODAL = re.compile(
    r"^(?:\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?\s+)?(?:(?:fu|fc|ta|in)-[A-Za-z0-9]+\s+)*"
)

# vLLM: `(EngineCore pid=7) WARNING 11-21 10:00:00 [file.py:3] …`; uvicorn: `WARNING:  …`
_LEVEL = re.compile(
    r"^(?:\([^)]*\)\s*)*(?:\[[^\]]*\]\s*)?(DEBUG|INFO|WARNING|ERROR|CRITICAL)(?::\s|\s+\d\d-\d\d \d\d:)"
)
# PyTorch's C++ part: `[rank0]:[W1121 11:07:57.4 file.cpp:3] …`
_TORCH_LEVEL = re.compile(r"^(?:\[rank\d+\]:)?\[([IWEF])\d{4} ")
# Python's warnings: `/a/file.py:3: UserWarning: …`
_PYTHON_WARNING = re.compile(r"^\S+:\d+: \w*Warning: ")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)(?:: |$)")
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
# SGLang's lines have no level: `[2026-11-21 10:00:00 TP0] …`, sometimes behind a progress bar. What they say has to do.
_SGLANG = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]*\] (?!INFO: )(?P<text>.*)")
_BAD = re.compile(r"\b(?:errors?|exceptions?|fatal|crash\w*|corrupt\w*|out of memory|nan)\b", re.IGNORECASE)
_DOUBTFUL = re.compile(
    r"\b(?:warn\w*|fail\w*|deprecat\w*|sub-?optimal|incompatible|unsupported"
    r"|not (?:support\w*|found|available|valid|set)|can ?not|can't|could ?not|couldn't|unable|unexpected\w*|invalid"
    r"|missing|disabled?|disabling|ignor\w*|fall(?:s|ing)? ?back|fallback|timed ?out|timeout|leak\w*|retract\w*"
    r"|exceed\w*|less than required|skipp\w*)\b",
    re.IGNORECASE,
)
_CHATTER = re.compile(r"^(?:Prefill|Decode) batch|HTTP/\d\.\d\"|^Capturing |^\s*\d+%\|")


def plain(line: str) -> str:
    """The line as the engine wrote it: no colours, no line end, none of the prefixes of `modal app logs`."""
    return _MODAL.sub("", _COLOUR.sub("", line.rstrip("\r\n")), count=1)


def warns(text: str) -> Level | None:
    """Whether the engine meant this (plain) line as a warning or an error. Frames of a traceback count as nothing."""
    if match := _LEVEL.match(text):
        return {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}.get(match[1])  # type: ignore[return-value]
    if match := _TORCH_LEVEL.match(text):
        return {"W": "warning", "E": "error", "F": "error"}.get(match[1])  # type: ignore[return-value]
    if _PYTHON_WARNING.match(text):
        return "warning"
    if _EXCEPTION.match(text) or _TRACEBACK.search(text):
        return "error"
    match = _SGLANG.search(text)
    if match is None or _CHATTER.search(match["text"]):
        return None
    if _BAD.search(match["text"]):
        return "error"
    return "warning" if _DOUBTFUL.search(match["text"]) else None
