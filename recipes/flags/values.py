"""What values an option takes: the engine's own types and choices, JSON down to its keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_TAKE_ARGUMENTS = frozenset({
    "store", "append", "LoRAPathAction", "LoRAParserAction", "DeprecatedAliasStoreAction",
})  # fmt: skip


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
    optional: bool = False
    """`None` and the empty string are taken for no value."""
    keys: Mapping[str, Any] | None = None
    """What a JSON object may hold: type, choices and keys of each key."""
    built_in: tuple[str, ...] | None = None
    """Names that the engine has itself; a plug-in may add others."""
    plugin: str | None = None
    """The option that loads such a plug-in."""

    @property
    def switch(self) -> bool:
        """Takes no argument."""
        return self.action not in _TAKE_ARGUMENTS

    @property
    def holds_json(self) -> bool:
        return self.type in ("json", "json_object", "json_or_str", "json_list_type")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Option:
        fields = {**document, "names": tuple(document["names"])}
        for name in ("choices", "built_in"):
            fields[name] = tuple(document[name]) if document.get(name) else None
        return cls(**fields)


def wrong_value(option: Option, name: str, value: Any) -> str | None:
    """What is wrong with a flag's value, given under `name` (of several); None if nothing is."""
    if option.switch:
        return _wrong_switch(option, name, value)
    if value is True and option.nargs == "?":
        return None
    if isinstance(value, bool):
        return f"needs {_expected(option)}, got {str(value).lower()}"
    if option.optional and value in ("", "None"):
        return None
    several = option.nargs in ("*", "+") or isinstance(option.nargs, int)
    if isinstance(value, dict):
        if not option.holds_json:
            return f"takes one value, got an object with {', '.join(value) or 'nothing in it'}"
        return next(_wrong_entries(option.keys, value), None) if option.keys is not None else None
    if isinstance(value, list) and not several:
        return f"takes one value, got the list {value}"
    if several and isinstance(value, str) and " " in value:
        return f"several values are a list: [{', '.join(value.split())}]"
    values = value if isinstance(value, list) else [value]
    if option.nargs == "+" and not values:
        return "needs at least one value"
    if isinstance(option.nargs, int) and len(values) != option.nargs:
        return f"needs {option.nargs} values, got {len(values)}"
    for item in values:
        if problem := _wrong_item(option, item):
            return problem
    return None


def wrong_key(option: Option, path: list[str], value: Any) -> str | None:
    """The same for one entry of a JSON option, written as `option.path`; text is read as JSON where it is some."""
    if not option.holds_json:
        return "takes no keys"
    keys = option.keys
    for depth, key in enumerate(path):
        if keys is None:
            return None
        if key not in keys:
            return _unknown_key(".".join(path[: depth + 1]), keys)
        if depth + 1 < len(path):
            keys = keys[key].get("keys")
    if keys is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            if re.fullmatch(_SCALED, value):
                return None
    return next(_wrong_entry(path[-1], keys[path[-1]], value), None)


def _wrong_switch(option: Option, name: str, value: Any) -> str | None:
    if not isinstance(value, bool):
        return f"is a switch (true or false), got {value!r}"
    # A recipe's false leaves the switch out, and then an option that is on by default stays on.
    if option.action == "BooleanOptionalAction" and value is False and option.default is not False:
        opposite = name.removeprefix("no-") if name.startswith("no-") else f"no-{name}"
        by_default = "on by default" if option.default else "the engine's choice"
        return f"false leaves it out, and then it is {by_default}; write `{opposite}: true`"
    return None


def _wrong_item(option: Option, item: Any) -> str | None:
    text = str(item)
    if option.type == "lower_snake":
        text = text.lower().replace("-", "_")
    if option.choices is not None and text not in {str(choice) for choice in option.choices}:
        return f"must be one of {', '.join(map(str, option.choices))}; got {item!r}{_hint(text, option.choices)}"
    if not _fits(option.type, text):
        return f"needs {_expected(option)}, got {item!r}"
    if option.holds_json and option.keys is not None and text.lstrip().startswith("{"):
        return next(_wrong_entries(option.keys, _load(option.type, text)), None)
    return None


def _wrong_entries(keys: Mapping[str, Any], document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key not in keys:
            yield _unknown_key(key, keys)
        else:
            yield from _wrong_entry(key, keys[key], value)


def _wrong_entry(name: str, key: Mapping[str, Any], value: Any) -> Iterator[str]:
    if value is None:
        return
    choices = key.get("choices")
    if choices and value not in choices:
        yield f"{name} must be one of {', '.join(map(str, choices))}; got {value!r}{_hint(str(value), choices)}"
        return
    kinds = key.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_json(kind, value) for kind in kinds):
        yield f"{name} needs {_article(kinds)}, got {value!r}"
    elif key.get("keys"):
        yield from (f"{name}.{problem}" for problem in _wrong_entries(key["keys"], value))


def _unknown_key(key: str, keys: Mapping[str, Any]) -> str:
    return f"unknown key {key}{_hint(key.rsplit('.', 1)[-1], keys)}"


def _hint(text: str, words: Any) -> str:
    import difflib  # what is right needs none of it

    close = difflib.get_close_matches(text, [str(word) for word in words], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _is_json(kind: str, value: Any) -> bool:
    """As pydantic takes it: a whole number may be text."""
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or _fits("int", value)
        case "number":
            return not isinstance(value, bool) and _fits("float", value)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
    return kind != "object" or isinstance(value, dict)


_SI = r"\d+(?:\.\d+)?(?:k|M|G|T)|\d+(?:Ki|Mi|Gi|Ti)"
_SCALED = r"[+-]?\d+|\d+(?:\.\d+)?[kmgt]|\d+[KMGT]"
"""vLLM's numbers: k is 1000 and may have a fraction, K is 1024 and may not."""


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
        case "scaled_int":
            return re.fullmatch(_SCALED, text) is not None
        case "scaled_int_or_auto":
            return text.lower() == "auto" or re.fullmatch(_SCALED, text) is not None
        case "json_or_str":
            return not text.lstrip().startswith("{") or _fits("json", text)
        case "json" | "json_list_type" | "json_object":
            try:
                document = _load(kind, text)
            except ValueError:
                return False
            return kind != "json_object" or isinstance(document, dict)
    return True


def _load(kind: str, text: str) -> Any:
    """Raises ValueError. In the JSON of a configuration class vLLM takes numbers with a suffix, outside of strings."""
    if kind == "json_object":
        parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
        parts[::2] = [re.sub(r"\b(\d+)(?:\.\d+)?[kKmMgGtT]\b", r"\1", part) for part in parts[::2]]
        text = "".join(parts)
    return json.loads(text)


_ARTICLES = {
    "boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text",
    "array": "a list", "object": "an object",
}  # fmt: skip


def _article(kinds: list[str]) -> str:
    return " or ".join(_ARTICLES.get(kind, kind) for kind in kinds)


def _expected(option: Option) -> str:
    names = {
        "int": "a whole number",
        "float": "a number",
        "human_readable_int": "a whole number (suffixes k, M, Ki, Mi allowed)",
        "scaled_int": "a whole number (suffixes k for 1000, K for 1024, m, M … allowed)",
        "scaled_int_or_auto": "a whole number (suffixes k for 1000, K for 1024, m, M … allowed) or auto",
        "json": "JSON",
        "json_object": "a JSON object",
        "json_or_str": "a text or a JSON object",
        "json_list_type": "a JSON list",
    }
    return names.get(option.type, "a value")
