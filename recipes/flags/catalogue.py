"""Reads a flag catalogue and says what is wrong with a set of flags, all of it at once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

FlagValue = bool | int | float | str
"""As recipes write it: `true` is the bare switch, `false` the switch left out, anything else the argument."""

_SI = r"\d+(?:\.\d+)?(?:k|M|G|T)|\d+(?:Ki|Mi|Gi|Ti)"


@dataclass(frozen=True)
class Option:
    """One option of the engine's command line."""

    names: tuple[str, ...]
    dest: str
    action: str
    type: str = "str"
    nargs: str | int | None = None
    choices: tuple[Any, ...] | None = None
    default: Any = None
    const: Any = None
    required: bool = False
    deprecated: bool = False
    replaced_by: str | None = None

    @property
    def switch(self) -> bool:
        """Takes no argument."""
        return self.action not in ("store", "LoRAPathAction", "DeprecatedAliasStoreAction")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Option:
        choices = document.get("choices")
        fields = {**document, "names": tuple(document["names"]), "choices": tuple(choices) if choices else None}
        return cls(**fields)


@dataclass(frozen=True)
class Catalogue:
    engine: str
    version: str
    options: tuple[Option, ...]

    @cached_property
    def by_name(self) -> dict[str, Option]:
        return {name: option for option in self.options for name in option.names}

    def find(self, flag: str) -> Option | None:
        """The option of a flag written with or without dashes.

        An abbreviation counts where it fits one name only, as it does for the engine: SGLang's own `--tp` is one.
        """
        name = "--" + flag.lstrip("-")
        if name in self.by_name:
            return self.by_name[name]
        longer = [full for full in self.by_name if full.startswith(name)]
        return self.by_name[longer[0]] if len(longer) == 1 else None

    def lint(self, flags: Mapping[str, Any]) -> list[str]:
        """Everything to say about `flags` (names without dashes to values), one sentence each; empty if nothing is."""
        return self.problems(flags) + self.remarks(flags)

    def problems(self, flags: Mapping[str, Any]) -> list[str]:
        """What the engine would refuse, or take otherwise than meant."""
        problems = []
        seen: dict[str, str] = {}
        for flag, value in flags.items():
            option = self.find(flag)
            if option is None:
                problems.append(self._unknown(flag))
                continue
            if option.dest in seen:
                problems.append(f"{flag}: sets the same option as {seen[option.dest]}; keep one of them")
            seen[option.dest] = flag
            problem = _wrong_value(option, value)
            if problem:
                problems.append(f"{flag}: {problem}")
        return problems

    def remarks(self, flags: Mapping[str, Any]) -> list[str]:
        """Names that the engine still takes and warns about, with the new name where there is one."""
        remarks = []
        for flag in flags:
            option = self.find(flag)
            if option is not None and option.deprecated:
                instead = f"; use {option.replaced_by.lstrip('-')}" if option.replaced_by else ""
                remarks.append(f"{flag}: deprecated in {self.engine} {self.version}{instead}")
        return remarks

    def _unknown(self, flag: str) -> str:
        name = "--" + flag.lstrip("-")
        longer = sorted(full for full in self.by_name if full.startswith(name))
        close = longer or difflib.get_close_matches(name, self.by_name, n=2, cutoff=0.7)
        hint = f"; did you mean {' or '.join(full.lstrip('-') for full in close[:3])}?" if close else ""
        return f"{flag}: unknown to {self.engine} {self.version}{hint}"


def load(engine: str, version: str) -> Catalogue:
    """The catalogue of a release. Raises FileNotFoundError naming the releases that there are."""
    path = FOLDER / f"{engine}-{version}.json"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise FileNotFoundError(f"no flag catalogue for {engine} {version} in {FOLDER}; there is {known}")
    document = json.loads(path.read_text(encoding="utf-8"))
    return Catalogue(engine, version, tuple(Option.from_json(option) for option in document["flags"]))


def _wrong_value(option: Option, value: Any) -> str | None:
    if option.switch:
        return None if isinstance(value, bool) else f"is a switch (true or false), got {value!r}"
    if value is True and option.nargs == "?":
        return None
    if isinstance(value, bool):
        return f"needs {_expected(option)}, got {str(value).lower()}"
    # Several values are one string in a recipe, separated by spaces.
    values = str(value).split() if option.nargs in ("*", "+") else [value]
    if option.nargs == "+" and not values:
        return "needs at least one value"
    for item in values:
        if option.choices is not None and str(item) not in {str(choice) for choice in option.choices}:
            close = difflib.get_close_matches(str(item), [str(choice) for choice in option.choices], n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            return f"must be one of {', '.join(map(str, option.choices))}; got {item!r}{hint}"
        if not _fits(option.type, item):
            return f"needs {_expected(option)}, got {item!r}"
    return None


def _fits(kind: str, value: Any) -> bool:
    text = str(value)
    match kind:
        case "int":
            return re.fullmatch(r"[+-]?\d+", text) is not None
        case "float":
            try:
                float(text)
            except ValueError:
                return False
            return True
        case "human_readable_int":
            return re.fullmatch(rf"[+-]?\d+|{_SI}", text) is not None
        case "json" | "json_list_type":
            try:
                json.loads(text)
            except ValueError:
                return False
            return True
    return True


def _expected(option: Option) -> str:
    names = {
        "int": "a whole number",
        "float": "a number",
        "human_readable_int": "a whole number (suffixes k, M, Ki, Mi allowed)",
        "json": "JSON",
        "json_list_type": "a JSON list",
    }
    return names.get(option.type, "a value")
