"""Reads a flag catalogue and says what is wrong with a set of flags, all of it at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.flags.values import Option, wrong_key, wrong_value

FOLDER = Path(__file__).parent

FlagValue = bool | int | float | str | list[int | float | str] | dict[str, Any]
"""As recipes write it: `true` is the bare switch, `false` the switch left out, a list several words, an object JSON."""


_COMMON_SHORT = {"sglang": ("--tp", "--dp")}
"""Abbreviations that an engine's own guides use throughout."""


@dataclass(frozen=True)
class Catalogue:
    engine: str
    version: str
    options: tuple[Option, ...]
    underscores: bool = False
    """`--a_b` is `--a-b` to the engine's parser."""
    dotted: bool = False
    """`--option.key VALUE` is one entry of a JSON option."""

    @cached_property
    def by_name(self) -> dict[str, Option]:
        return {name: option for option in self.options for name in option.names}

    def find(self, flag: str) -> Option | None:
        """The option of a flag written with or without dashes; of a dotted one, the option before the dot.

        An abbreviation counts where it fits one name only, as it does for the engine.
        """
        name = self._name(flag)
        if name in self.by_name:
            return self.by_name[name]
        longer = [full for full in self.by_name if full.startswith(name)]
        return self.by_name[longer[0]] if len(longer) == 1 else None

    def abbreviates(self, flag: str) -> str | None:
        """The whole name where `flag` is only its beginning; None for one that the engine's own documents write."""
        name = self._name(flag)
        if name in self.by_name or name in _COMMON_SHORT.get(self.engine, ()):
            return None
        longer = [full for full in self.by_name if full.startswith(name)]
        return longer[0].lstrip("-") if len(longer) == 1 else None

    def meant(self, flag: str, value: Any) -> Any:
        """The value that an option gets: `no-x: true` sets x to false."""
        option = self.find(flag)
        negated = option is not None and option.action == "BooleanOptionalAction" and self._negates(flag)
        return not value if negated and isinstance(value, bool) else value

    def lint(self, flags: Mapping[str, Any]) -> list[str]:
        """Everything to say about `flags` (names without dashes to values), one sentence each; empty if nothing is."""
        return self.problems(flags) + self.remarks(flags)

    def problems(self, flags: Mapping[str, Any], *, nearest: bool = False) -> list[str]:
        """What the engine would refuse, or take otherwise than meant.

        `nearest`: the image is no release and this is only the nearest one, so unknown flags are left to `unverified`.
        """
        return [
            *self._duplicates(flags),
            *(problem for flag, value in flags.items() for problem in self._problems(flag, value, flags, nearest)),
        ]

    def remarks(self, flags: Mapping[str, Any]) -> list[str]:
        """Names that the engine still takes and warns about, with the new name where there is one."""
        remarks = []
        for flag in flags:
            option = self.find(flag)
            if option is not None and option.deprecated:
                instead = f"; use {option.replaced_by.lstrip('-')}" if option.replaced_by else ""
                remarks.append(f"{flag}: deprecated in {self.engine} {self.version}{instead}")
        return remarks

    def unverified(self, flags: Mapping[str, Any], image: str) -> list[str]:
        """Flags that this release lacks, for an image that is no release: it may know them, nobody has looked."""
        return [
            f"{flag}: unverified: {self.engine} {self.version}, the release nearest to {image}, has no such option"
            f"{self._hint(flag)}"
            for flag in flags
            if self.find(flag) is None
        ]

    def _problems(self, flag: str, value: Any, flags: Mapping[str, Any], nearest: bool) -> Iterator[str]:
        option = self.find(flag)
        if option is None:
            if not nearest:
                yield f"{flag}: unknown to {self.engine} {self.version}{self._hint(flag)}"
            return
        if whole := self.abbreviates(flag):
            yield f"{flag}: an abbreviation, which no other check here would know; write {whole}"
            return
        path = self._path(flag)
        problem = wrong_key(option, path, value) if path else wrong_value(option, flag.lstrip("-"), value)
        if problem:
            yield f"{flag}: {problem}"
        elif option.built_in and value not in option.built_in and not (option.plugin and option.plugin in flags):
            close = _closest(str(value), option.built_in, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield f"{flag}: {self.engine} {self.version} has none called {value!r}{meant}"

    def _duplicates(self, flags: Mapping[str, Any]) -> Iterator[str]:
        seen: dict[str, str] = {}
        for flag in flags:
            option = self.find(flag)
            if option is None:
                continue
            # Two entries of one JSON option go together; an entry beside the whole JSON would replace it.
            other = seen.get(option.dest)
            if other and not (self._path(flag) and self._path(other)):
                yield f"{flag}: sets the same option as {other}; keep one of them"
            seen[option.dest] = flag

    def _name(self, flag: str) -> str:
        name = "--" + flag.lstrip("-")
        if self.dotted:
            name = name.partition(".")[0]
        return name.replace("_", "-") if self.underscores else name

    def _path(self, flag: str) -> list[str]:
        return flag.split(".")[1:] if self.dotted else []

    def _negates(self, flag: str) -> bool:
        option = self.find(flag)
        name = self._name(flag)
        full = next((known for known in option.names if known.startswith(name)), name) if option else name
        return full.startswith("--no-")

    def _hint(self, flag: str) -> str:
        name = self._name(flag)
        short = self.by_name.get("-" + name.lstrip("-"))
        if short is not None:
            return f"; did you mean {short.names[0].lstrip('-')}, which has the short name -{name.lstrip('-')}?"
        longer = sorted(full for full in self.by_name if full.startswith(name))
        close = longer or _closest(name, self.by_name, n=2, cutoff=0.7)
        return f"; did you mean {' or '.join(full.lstrip('-') for full in close[:3])}?" if close else ""


def _closest(word: str, words: Iterable[str], n: int, cutoff: float = 0.6) -> list[str]:
    import difflib  # what is right needs none of it

    return difflib.get_close_matches(word, words, n, cutoff)


def load(engine: str, version: str) -> Catalogue:
    """The catalogue of a release. Raises FileNotFoundError naming the releases that there are."""
    path = FOLDER / f"{engine}-{version}.json"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.json")))
        raise FileNotFoundError(f"no flag catalogue for {engine} {version} in {FOLDER}; there is {known}")
    document = json.loads(path.read_text(encoding="utf-8"))
    options = tuple(Option.from_json(option) for option in document["flags"])
    return Catalogue(engine, version, options, **document.get("parser", {}))
