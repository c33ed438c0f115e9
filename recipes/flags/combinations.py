"""Finds combinations of flags that are known to be broken; the rules are `known_broken.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from recipes.flags.catalogue import FOLDER, Catalogue, FlagValue
from serving.yaml_file import read_yaml

RULES = FOLDER / "known_broken.yaml"


@dataclass(frozen=True)
class Rule:
    """One entry of the file; flags in `when` and `mend` are tuples of the names that one flag has had."""

    name: str
    level: Literal["error", "warning"]
    source: str
    engine: str
    cause: str
    when: tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...]
    mend: tuple[tuple[str, ...], FlagValue]
    first: str | None
    before: str | None
    architectures: tuple[str, ...]
    sparse: bool

    @classmethod
    def from_yaml(cls, entry: Mapping[str, Any]) -> Rule:
        ((mended, value),) = entry["mend"].items()
        return cls(
            name=entry["name"],
            level=entry["level"],
            source=entry["source"],
            engine=entry["engine"],
            cause=entry["cause"],
            when=tuple((tuple(flag.split()), tuple(values)) for flag, values in entry["when"].items()),
            mend=(tuple(mended.split()), value),
            first=entry.get("from"),
            before=entry.get("before"),
            architectures=tuple(entry.get("architectures", ())),
            sparse=entry.get("sparse", False),
        )


@dataclass(frozen=True)
class Finding:
    """A rule that applies."""

    rule: str
    level: Literal["error", "warning"]
    flag: str
    """As the recipe writes it; where the flag's absence is the trouble, the name to set."""
    given: str
    cause: str
    source: str
    mend_flag: str
    mend_value: FlagValue

    @property
    def mend_text(self) -> str:
        return str(self.mend_value).lower() if isinstance(self.mend_value, bool) else str(self.mend_value)

    def __str__(self) -> str:
        return f"{self.flag}: {self.given}, but {self.cause} ({self.source}); set {self.mend_flag} to {self.mend_text}"


def find_broken(
    catalogue: Catalogue, flags: Mapping[str, Any], *, architecture: str, repository: str, sparse: bool = False
) -> list[Finding]:
    """Every rule that applies to `flags` on a release, for a GPU architecture (`sm100`) and a model (`owner/name`).

    `sparse`: the model is known to have sparse attention; else its flags and its name tell.
    """
    sparse = sparse or _has_sparse_attention(catalogue, flags, repository)
    found = (_apply(rule, catalogue, flags, architecture, sparse) for rule in rules())
    return [finding for finding in found if finding]


@cache
def rules() -> tuple[Rule, ...]:
    """All rules of the file."""
    return tuple(Rule.from_yaml(entry) for entry in _document()["rules"])


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = read_yaml(RULES)
    return document


def _apply(
    rule: Rule, catalogue: Catalogue, flags: Mapping[str, Any], architecture: str, sparse: bool
) -> Finding | None:
    if rule.engine != catalogue.engine or not _in_range(catalogue.version, rule.first, rule.before):
        return None
    if rule.architectures and architecture not in rule.architectures:
        return None
    if rule.sparse and not sparse:
        return None
    last: tuple[str, str] = ("", "")
    for names, values in rule.when:
        flag, given = _given(catalogue, flags, names)
        if _norm(given) not in {_norm(value) for value in values}:
            return None
        last = (flag or _current(catalogue, names), "is left out" if flag is None else f"is {_norm(given)}")
    return Finding(
        rule=rule.name,
        level=rule.level,
        flag=last[0],
        given=last[1],
        cause=rule.cause,
        source=rule.source,
        # Under its old name a flag would be set twice if the mend used the new one.
        mend_flag=_given(catalogue, flags, rule.mend[0])[0] or _current(catalogue, rule.mend[0]),
        mend_value=rule.mend[1],
    )


def _given(catalogue: Catalogue, flags: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str | None, Any]:
    """The flag as written, whichever of its names or abbreviations that is, and its value."""
    options = {option.dest for name in names if (option := catalogue.find(name))}
    for flag, value in flags.items():
        option = catalogue.find(flag)
        if option is not None and option.dest in options:
            return flag, catalogue.meant(flag, value)
    return None, None


def _current(catalogue: Catalogue, names: tuple[str, ...]) -> str:
    known = {name: option for name in names if (option := catalogue.find(name))}
    return next((name for name, option in known.items() if not option.deprecated), next(iter(known), names[0]))


def _has_sparse_attention(catalogue: Catalogue, flags: Mapping[str, Any], repository: str) -> bool:
    marks = _document()["sparseAttention"]
    if re.search(marks["repository"], repository, re.IGNORECASE):
        return True
    if _given(catalogue, flags, tuple(marks["anyOf"]))[0] is not None:
        return True
    return any(_given(catalogue, flags, (flag,))[1] in values for flag, values in marks["flags"].items())


def _norm(value: Any) -> str | None:
    return None if value is None else str(value).lower()


def _in_range(version: str, first: str | None, before: str | None) -> bool:
    number = _number(version)
    return (first is None or number >= _number(first)) and (before is None or number < _number(before))


def _number(version: str) -> tuple[int, ...]:
    """`0.5.10.post1` as (0, 5, 10, 1): enough to order SGLang's releases."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
