"""What differs between engines, behind one small interface: adding an engine is adding a module here."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from serving.architecture import Architecture
from serving.recipe import Recipe
from serving.recipe_sections import FlagValue

Flags = Mapping[str, FlagValue]
"""A recipe's `engine.flags`: long names without dashes."""


class EngineModule(Protocol):
    """The functions and constants of `serving/engines/<engine.name>.py`."""

    TITLE: str
    """How log lines call the engine."""
    HEALTH_PATH: str
    METRICS_PATH: str
    REQUESTS_METRIC: str
    """The counter of answered requests, one sample per label."""
    READY_LINE: re.Pattern[str]
    """The line after which the health endpoint is worth asking at once."""
    FREEZE_PATH: str
    """POST here once it is warm keeps its processes' garbage collection off what the start has made; empty where an
    engine sees to that itself."""
    PHASE_LINES: Sequence[tuple[str, re.Pattern[str]]]
    """Phases of a start after `load`, each with the line that it begins with, in their order."""
    COMPILING_LINE: re.Pattern[str]
    """A line that tells of a kernel being compiled."""

    SET_BY_THE_STACK: frozenset[str]
    """Flags that a recipe may not set."""
    UNSERVABLE: Mapping[str, str]
    """Flags that the engine takes and with which no replica could serve, each with the reason."""
    LEAST_ONE: frozenset[str]
    """Counts: an engine that takes a smaller number fails with it later, or works on nothing."""
    MINUS_ONE: frozenset[str]
    """Those of them that leave the choice to the engine by -1."""
    FRACTIONS: frozenset[str]
    """Shares of something: above 0 and below 1."""
    SUFFIXES: Mapping[str, int]
    """Factors that the engine takes behind a number."""
    METRICS_FLAG: tuple[str, bool]
    """The flag that decides whether the engine tells its metrics, and the value with which it does."""
    SHAPELESS_FLAGS: frozenset[str]
    """Flags that change neither the shapes of a GEMM nor the code generated for it."""
    TENSOR_PARALLEL: Sequence[str]
    """All names of the flag that says over how many GPUs each layer is spread, the usual one first."""

    def tensor_parallel(self, flags: Flags) -> int:
        """That flag's value, or the engine's default. Raises ValueError."""
        ...

    def parallelism(self, flags: Flags) -> dict[str, int]:
        """The factors of the number of GPUs that a replica takes, by flag as written. Raises ValueError."""
        ...

    def speculates(self, flags: Flags) -> bool:
        """Whether the model's own MTP layers draft tokens."""
        ...

    def kv_cache_dtype(self, recipe: Recipe) -> str:
        """`bfloat16` or an FP8 type: what the engine takes for these flags on this GPU."""
        ...

    def kv_bytes_per_layer(self, recipe: Recipe, model: Architecture) -> int:
        """KV cache bytes of one token in one layer, on each GPU."""
        ...

    def longest_request(self, recipe: Recipe) -> int:
        """Tokens of prompt and answer together that one request may have at most."""
        ...

    def most_requests(self, recipe: Recipe) -> int:
        """How many requests are worked on at once at most."""
        ...

    def has_metrics(self, recipe: Recipe) -> bool:
        """Whether these flags let the engine tell its metrics."""
        ...

    def stopping_rules(self, recipe: Recipe) -> frozenset[str]:
        """Rules of the log (serving/log_rules_*.py) whose lines no container may say before it takes traffic."""
        ...

    def launch_command(
        self, recipe: Recipe, commit: str, *, config_path: str | None = None, release: str = ""
    ) -> list[str]:
        """The serving process. The API key is never in the arguments."""
        ...

    def config_file(self, api_key: str, release: str) -> str | None:
        """Content of the file at `config_path`; None where the engine needs none."""
        ...

    def secret_environment(self, api_key: str) -> dict[str, str]:
        """Variables that hand the key over, for an engine that takes it from there."""
        ...

    def name_of_release(self, recipe: Recipe, release: str) -> str:
        """The `model` to ask for, so that only replicas of this release answer where the engine can tell them apart."""
        ...

    def compile_command(self, recipe: Recipe, commit: str) -> list[str]:
        """The process that fills the kernel caches; gets no key. Only asked where the recipe has kernels."""
        ...

    def engine_environment(self, recipe: Recipe, kernel_path: str, *, proven: bool = False) -> dict[str, str]:
        """Variables to set on top of the container's own; `proven`: a start with these kernels compiled nothing."""
        ...

    def cache_folders(self) -> dict[str, str]:
        """Folder of the kernel artifact by the environment variable that points the engine to it."""
        ...

    def busy(self, metrics: Mapping[str, float]) -> float:
        """Requests running or queued, from `/metrics` summed over labels."""
        ...

    def progress(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Numbers of which at least one changes as long as running requests get anywhere."""
        ...


def engine_for(recipe: Recipe) -> EngineModule:
    return cast(EngineModule, importlib.import_module(f"serving.engines.{recipe.engine.name}"))


def arguments(flags: Flags) -> list[str]:
    """`true` is a bare switch, `false` one left out, a list several words, an object JSON, anything else one word."""
    argv: list[str] = []
    for name, value in flags.items():
        if value is False:
            continue
        argv.append(f"--{name}")
        if isinstance(value, list):
            argv += map(str, value)
        elif isinstance(value, dict):
            argv.append(json.dumps(value))
        elif value is not True:
            argv.append(str(value))
    return argv


def name_given(flags: Flags, names: Sequence[str]) -> str:
    """Which of an option's names these flags use; the first where they use none."""
    return next((name for name in names if name in flags), names[0])


def degrees(flags: Flags, first: Sequence[str], *others: Sequence[str]) -> dict[str, int]:
    """How many times each kind of parallelism multiplies the GPUs, by its name as written; the first kind is always
    there, the others where they are given. Raises ValueError naming the flag."""
    found = {}
    for names in (first, *others):
        name = name_given(flags, names)
        if name not in flags and names is not first:
            continue
        try:
            found[name] = count(flags.get(name, 1), {})
        except ValueError:
            raise ValueError(f"engine.flags.{name} is {flags[name]!r}: a whole number is needed") from None
    return found


def count(value: FlagValue, suffixes: Mapping[str, int]) -> int:
    """A number as engines take it on the command line: 32768, or 32 with a suffix that stands for a factor."""
    text = str(value)
    for suffix in sorted(suffixes, key=len, reverse=True):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * suffixes[suffix])
    return int(text)
