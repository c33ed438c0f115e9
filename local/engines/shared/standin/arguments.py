"""The engine's command line, exactly as the flag catalogue of its release has it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from standin.environment import repository

_SI = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_IEC = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def read_catalogue(engine: str, version: str) -> dict[str, Any]:
    """The extracted flags of a release. Ends the process with a message where there are none."""
    path = repository() / "recipes" / "flags" / f"{engine}-{version}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(
            f"stand-in: no flag catalogue for {engine} {version} ({error.strerror}: {path}); "
            f"run: python -m recipes.flags.extract {engine} {version} WHEEL"
        ) from None


def build_parser(catalogue: dict[str, Any], command: str, prog: str) -> argparse.ArgumentParser:
    """A parser for one of the engine's modules: unknown options, wrong types and choices end it with status 2."""
    parser = argparse.ArgumentParser(prog=prog)
    add_options(parser, catalogue, command)
    return parser


def add_options(parser: argparse.ArgumentParser, catalogue: dict[str, Any], command: str) -> None:
    """What the catalogue has for the command, put into a parser that is there already."""
    for option in (*catalogue["flags"], *catalogue["commands"][command]["flags"]):
        _add(parser, option)
    for option in catalogue["commands"][command].get("positionals", ()):
        parser.add_argument(option["dest"], nargs=option.get("nargs"), default=option.get("default"))


def namespace_fields(catalogue: dict[str, Any], parsed: argparse.Namespace) -> dict[str, Any]:
    """The engine's own argument object: its fields in order, filled from the parsed options."""
    values = vars(parsed)
    fields = {}
    for name, default in catalogue["fields"].items():
        dest = catalogue["renamed"].get(name, name)
        fields[name] = values.get(dest, default)
    return fields


def merge_config(catalogue: dict[str, Any], parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """`--config FILE` replaced by the file's entries, put first so that the command line wins. Raises ValueError."""
    if "--config" not in argv:
        return argv
    if argv.count("--config") > 1:
        raise ValueError("Multiple config files specified! Only one allowed.")
    index = argv.index("--config")
    if index == len(argv) - 1:
        raise ValueError("No config file specified after --config flag!")
    path = Path(argv[index + 1])
    if path.suffix.lower() not in catalogue["config"]["suffixes"]:
        raise ValueError(f"Config file must be YAML format, got: {path.suffix}")
    if not path.exists():
        raise ValueError(f"Config file not found: {path}")
    import yaml

    document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(document, dict):
        raise ValueError("Config file must contain a dictionary at root level")
    merged: list[str] = []
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    for key, value in document.items():
        action = actions.get(str(key).replace("-", "_"))
        switch = isinstance(action, argparse._StoreTrueAction)
        if action is not None and not switch and not isinstance(action, argparse._StoreAction):
            kind = type(action).__name__
            raise ValueError(f"Unsupported config option '{action.dest}' with action '{kind}'")
        if isinstance(value, bool):
            merged += ([f"--{key}"] if value else []) if switch else [f"--{key}", str(value).lower()]
        elif isinstance(value, list):
            merged += [f"--{key}", *map(str, value)] if value else []
        else:
            merged += [f"--{key}", str(value)]
    return merged + argv[:index] + argv[index + 2 :]


def _add(parser: argparse.ArgumentParser, option: dict[str, Any]) -> None:
    action = option["action"]
    keywords: dict[str, Any] = {"dest": option["dest"], "default": option.get("default")}
    if option.get("required"):
        keywords["required"] = True
    if action == "store_true":
        keywords["action"] = "store_true"
        keywords["default"] = option.get("default", False)
    elif action == "BooleanOptionalAction":
        option = {**option, "names": [name for name in option["names"] if not name.startswith("--no-")]}
        keywords["action"] = argparse.BooleanOptionalAction
    elif action.startswith("Deprecated"):
        keywords |= _deprecated(option)
    else:
        if action == "append":
            keywords |= {"action": "append", "default": list(option.get("default") or [])}
        kind = _TYPES.get(option.get("type", "str"), str)
        keywords["type"] = _optional(kind) if option.get("optional") else kind
        for key in ("nargs", "const", "choices"):
            if key in option:
                keywords[key] = option[key]
    parser.add_argument(*option["names"], **keywords)


def _deprecated(option: dict[str, Any]) -> dict[str, Any]:
    """Keywords for a former name: most still do what they did, and say what to write instead."""
    action, instead = option["action"], option.get("replaced_by")
    found: dict[str, Any] = {
        "action": _Deprecated,
        "nargs": 0,
        "instead": instead,
        "stores": action != "DeprecatedAction",
    }
    # The present name of the same option has the default.
    found["default"] = argparse.SUPPRESS
    if action == "DeprecatedStoreTrueAction":
        found |= {"const": True, "default": False}
    elif action == "DeprecatedStoreConstAction":
        found["const"] = (instead or "").partition("=")[2]
    elif action == "DeprecatedAliasStoreAction":
        found |= {key: option[key] for key in ("nargs", "choices") if key in option}
        found["nargs"] = option.get("nargs")
        found["type"] = _TYPES.get(option.get("type", "str"), str)
    return found


class _Deprecated(argparse.Action):
    def __init__(self, *args: Any, stores: bool, instead: str | None, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._stores = stores
        self._instead = instead

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        hint = f" Use '{self._instead}' instead." if self._instead and self._stores else ""
        text = f"'{option_string}' is deprecated and will be removed in a future release.{hint}"
        print(f"\033[1;33m{text}\033[0m", file=sys.stderr)
        if self._stores:
            setattr(namespace, self.dest, values if self.nargs != 0 else self.const)


def _human_readable_int(text: str) -> int:
    text = text.strip()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)", text)
    try:
        if match is None:
            return int(text)
        number, suffix = match.groups()
        return int(number) * _IEC[suffix] if suffix in _IEC else int(Decimal(number) * _SI[suffix])
    except ValueError:
        _refuse(f"Invalid integer value: '{text}'. Use a plain integer, SI suffixes (1k, 1M), or IEC suffixes (1Ki).")


def _scaled_int(text: str) -> int:
    """vLLM's numbers: 1k is 1,000 and 1K is 1,024, the latter without decimals."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT])", text.strip())
    if match is None:
        return int(text)
    number, suffix = match.groups()
    if suffix.islower():
        return int(Decimal(number) * 1000 ** ("kmgt".index(suffix) + 1))
    if "." in number:
        _refuse(
            f"Decimals are not allowed with binary suffixes like {suffix}. Did you mean to use "
            f"{number}{suffix.lower()} instead?"
        )
    return int(number) * 1024 ** ("KMGT".index(suffix) + 1)


def _optional(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if text in ("", "None"):
            return None
        try:
            return kind(text)
        except ValueError:
            _refuse(f"Value {text} cannot be converted to {kind}.")

    return convert


def _json_object(text: str) -> Any:
    document = _json(text)
    return document if isinstance(document, dict) else _refuse(f"Value {text} is no JSON object")


def _refuse(message: str) -> NoReturn:
    raise argparse.ArgumentTypeError(message)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        _refuse(f"Invalid JSON: {text}")


_TYPES: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "human_readable_int": _human_readable_int,
    "json": _json,
    "json_list_type": _json,
    "json_object": _json_object,
    "json_or_str": lambda text: _json(text) if re.fullmatch(r"(?s)\s*{.*}\s*", text) else text,
    "lower_snake": lambda text: text.lower().replace("-", "_"),
    "scaled_int": _scaled_int,
    "scaled_int_or_auto": lambda text: -1 if text in ("auto", "-1") else _scaled_int(text),
    "nullable_str": lambda text: None if text in ("", "None") else text,
}
