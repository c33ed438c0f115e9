"""What a stand-in learns from its environment: its release, how fast it pretends to work, which fault it has."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_RELEASE = re.compile(r"(\d+\.\d+\.\d+(?:\.?(?:post|rc|dev)\d+)?)")

FAULTS = {
    "die-at-load": "the scheduler raises while it loads the weights",
    "oom-at-load": "the whole engine is killed with SIGKILL while it loads the weights, without a word",
    "scheduler-oom-at-load": "the scheduler process is killed with SIGKILL while it loads the weights",
    "never-healthy": "it serves, but /health stays 503",
    "die-at-warmup": "the scheduler raises at the engine's own first request",
    "die-at-first-request": "the scheduler raises at the first request from outside",
    "die-after": "die-after:N: the same, after N requests from outside",
    "hang-after": "hang-after:N: after N requests from outside the scheduler stops working, without dying",
    "bad-answer": "answers are fluent nonsense, also to questions it knows",
    "empty-answer": "answers have no content",
    "wrong-scales": "answers are right, their log-probabilities those of a model whose FP8 scales were not read",
    "slow-start": "slow-start:S: loading takes S seconds longer",
}


def release(nearest: Mapping[str, str] | None = None) -> str:
    """The engine's version, from the tag of the image that brought it (LOCAL_IMAGE_TAG); `nearest` has the releases
    that stand for tags which name none."""
    image = os.environ.get("LOCAL_IMAGE_TAG", "")
    tag = image.split("@", 1)[0].rsplit(":", 1)[-1]
    match = _RELEASE.search(tag)
    if match:
        return match[1]
    if nearest and tag in nearest:
        return nearest[tag]
    known = f", nor is it one of {', '.join(nearest)}" if nearest else ", such as lmsysorg/sglang:v0.5.10.post1"
    raise SystemExit(f"stand-in: LOCAL_IMAGE_TAG={image!r} names no release{known}")


@cache
def speed() -> float:
    """How many times faster than the real engine fixed delays pass (STANDIN_SPEED, 10 if unset)."""
    return max(0.01, float(os.environ.get("STANDIN_SPEED", "10")))


def scaled(seconds: float) -> float:
    """A delay of the real engine, in this machine's seconds."""
    return seconds / speed()


def look_again(seconds: float) -> float:
    """The pause between two looks, for ever: scaled, but so long that an engine with nothing to do costs nothing."""
    return max(0.05, scaled(seconds))


@dataclass(frozen=True)
class Fault:
    name: str
    argument: float = 0.0


@cache
def faults() -> tuple[Fault, ...]:
    """STANDIN_FAULT: names separated by commas, some with `:N`. An unknown one ends the process, status 2."""
    found = []
    for text in filter(None, os.environ.get("STANDIN_FAULT", "").split(",")):
        name, _, argument = text.strip().partition(":")
        if name not in FAULTS:
            print(f"stand-in: STANDIN_FAULT={text!r} is unknown; known: {', '.join(FAULTS)}", file=sys.stderr)
            raise SystemExit(2)
        found.append(Fault(name, float(argument or 0)))
    return tuple(found)


def fault(name: str) -> Fault | None:
    return next((fault for fault in faults() if fault.name == name), None)


@dataclass(frozen=True)
class Gpu:
    type: str
    count: int
    memory_gb: float
    architecture: str
    """Compute capability without the dot: what kernels are compiled for."""


_GPUS = {
    "B200": (178.35, "100"),
    "H200": (139.8, "90"),
    "H100": (79.1, "90"),
    "A100": (79.2, "80"),
    "L40S": (44.4, "89"),
}


def gpu(count_if_unknown: int) -> Gpu:
    """The machine's GPUs as LOCAL_GPU says (`B200:8`); unset, there are as many B200 as asked for."""
    name, _, count = os.environ.get("LOCAL_GPU", "").partition(":")
    memory, architecture = _GPUS.get(name.rstrip("!").upper(), _GPUS["B200"])
    return Gpu(name or "B200", int(count or 1) if name else count_if_unknown, memory, architecture)


def repository() -> Path:
    """The repository that these files lie in: the flag catalogues are in it, outside the site folders."""
    return Path(__file__).resolve().parents[4]
