"""Argument definitions of SGLang, as options of a catalogue.

Two styles are read: `parser.add_argument(…)` calls, and fields annotated with `A[type, Arg(…)]`, which releases from
2026 on turn into options by themselves (`sglang/srt/arg_groups/arg_utils.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from recipes.flags.literals import NotLiteral, Sources

_FROM_FIELDS = "add_cli_args_from_dataclass"
_KINDS = {"json.loads": "json"}


def options(sources: Sources, module: str, owner: ast.ClassDef) -> Iterator[dict[str, Any]]:
    """The options of an argument class in the order its `add_cli_args` registers them. Raises NotLiteral."""
    definitions = find_method(owner, "add_cli_args")
    local = {
        statement.targets[0].id: statement.value
        for statement in definitions.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    for node in _walk_in_order(definitions):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            yield _from_call(sources, module, node, local)
        elif isinstance(node.func, ast.Name) and node.func.id == _FROM_FIELDS:
            yield from _from_fields(sources, module, owner)


def find_method(owner: ast.ClassDef, name: str) -> ast.FunctionDef:
    """A method of a class. Raises NotLiteral."""
    for statement in owner.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            return statement
    raise NotLiteral(f"{owner.name}.{name}")


def _from_call(sources: Sources, module: str, call: ast.Call, local: dict[str, ast.expr]) -> dict[str, Any]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    names = [sources.evaluate(module, argument) for argument in call.args]
    option: dict[str, Any] = {"names": names, "dest": names[0].lstrip("-").replace("-", "_")}
    _set_action(option, keywords.get("action"))
    if "type" in keywords:
        option["type"] = _kind(keywords["type"])
    for key in ("dest", "nargs", "choices", "const", "required", "default"):
        if key not in keywords:
            continue
        try:
            option[key] = sources.evaluate(module, keywords[key], local)
        except NotLiteral:
            # A default may depend on the machine, and choices may be collected by a function; all else must be known.
            if key not in ("default", "choices"):
                raise
    _mark_deprecated(option, keywords)
    return option


_NAMESPACES = "_INPUT_NAMESPACES"
_ORDER = "POSITIONAL_FIELD_ORDER"


def field_owners(sources: Sources, module: str, owner: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """The class and those whose fields it collects, with their modules: releases from 0.5.17 on have namespaces."""
    owners = [(module, owner)]
    for statement in sources.module(module).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=namespaces)) if name == _NAMESPACES:
                for namespace in namespaces:
                    where, node = sources.find(module, ast.unparse(namespace))
                    if not isinstance(node, ast.ClassDef):
                        raise NotLiteral(f"{where}.{ast.unparse(namespace)} is no class")
                    owners.append((where, node))
    return owners


def in_order(sources: Sources, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields in the order of the constructor, where a release states it apart from them."""
    try:
        order = sources.name("sglang.srt.arg_groups.field_order", _ORDER)
    except NotLiteral:
        return fields
    return {name: fields[name] for name in (*order, *fields) if name in fields}


def _from_fields(sources: Sources, module: str, owner: ast.ClassDef) -> Iterator[dict[str, Any]]:
    fields: dict[str, tuple[str, ast.expr, ast.expr, ast.expr | None]] = {}
    for where, node in field_owners(sources, module, owner):
        for statement in node.body:
            match statement:
                case ast.AnnAssign(
                    target=ast.Name(id=field),
                    annotation=ast.Subscript(value=ast.Name(id="A"), slice=ast.Tuple(elts=[kind, metadata])),
                    value=default,
                ):
                    fields[field] = where, kind, metadata, default  # one defined twice keeps its place
    for field, (where, *definition) in in_order(sources, fields).items():
        option = _from_field(sources, where, field, *definition)
        if option:
            yield option


def _from_field(
    sources: Sources, module: str, field: str, kind: ast.expr, metadata: ast.expr, default: ast.expr | None
) -> dict[str, Any] | None:
    """None where the field says that the command line does not have it."""
    keywords: dict[str, ast.expr] = {"help": metadata}
    if isinstance(metadata, ast.Call):
        keywords = {keyword.arg: keyword.value for keyword in metadata.keywords if keyword.arg}
    facts: dict[str, Any] = {}
    for key in ("aliases", "choices", "cli_name", "const", "nargs", "no_cli"):
        # Choices that a function collects when the program runs are not looked at; anything else must be known.
        if key in keywords and not (key == "choices" and isinstance(keywords[key], ast.Call)):
            facts[key] = sources.evaluate(module, keywords[key])
    if facts.get("no_cli"):
        return None
    name = facts.get("cli_name") or "--" + field.replace("_", "-")
    option: dict[str, Any] = {"names": [name, *facts.get("aliases", ())], "dest": field}
    inner = _without_optional(kind)
    if "action" in keywords:
        for keyword, value in _entries(keywords.get("action_kwargs")):
            option[keyword] = _kind(value) if keyword == "type" else sources.evaluate(module, value)
        _set_action(option, keywords["action"])
    elif ast.unparse(inner) == "bool":
        option["action"] = "store_true"
    else:
        option |= {"action": "store", **_value_of(inner, keywords.get("type_parser"))}
        option |= {key: facts[key] for key in ("choices", "const", "nargs") if facts.get(key) is not None}
        if default is None:
            option["required"] = True
    if default is not None:
        with suppress(NotLiteral):  # a default may depend on the machine
            option["default"] = sources.evaluate(module, default)
    _mark_deprecated(option, keywords)
    return option


def _value_of(kind: ast.expr, parser: ast.expr | None) -> dict[str, Any]:
    """Type, choices and number of values that follow from a field's annotation."""
    origin, arguments = _subscript(kind)
    if origin == "Literal":
        values = [ast.literal_eval(argument) for argument in arguments]
        return {"type": _kind(parser) if parser else _simple(type(values[0]).__name__), "choices": values}
    if parser is not None:
        return {"type": _kind(parser)}
    if origin in ("List", "list"):
        return {"type": _simple(ast.unparse(arguments[0])), "nargs": "+"}
    return {"type": _simple(ast.unparse(kind))}


def _without_optional(kind: ast.expr) -> ast.expr:
    origin, arguments = _subscript(kind)
    return arguments[0] if origin == "Optional" else kind


def _subscript(kind: ast.expr) -> tuple[str, list[ast.expr]]:
    if not isinstance(kind, ast.Subscript):
        return "", []
    items = kind.slice
    return ast.unparse(kind.value), items.elts if isinstance(items, ast.Tuple) else [items]


def _entries(node: ast.expr | None) -> list[tuple[str, ast.expr]]:
    match node:
        case ast.Dict(keys=keys, values=values):
            return [(_text(key), value) for key, value in zip(keys, values, strict=True)]
        case ast.Call(keywords=keywords):
            return [(keyword.arg, keyword.value) for keyword in keywords if keyword.arg]
    return []


def _set_action(option: dict[str, Any], action: ast.expr | None) -> None:
    option["action"] = (_text(action) or "store").rsplit(".", 1)[-1]
    if option["action"] == "BooleanOptionalAction":
        option["names"] += [f"--no-{name.removeprefix('--')}" for name in option["names"]]


def _mark_deprecated(option: dict[str, Any], keywords: dict[str, ast.expr]) -> None:
    help_text = joined_text(keywords.get("help"))
    told = "deprecated" in help_text.lower().replace("replaces the deprecated", "")
    if not told and not option["action"].startswith("Deprecated"):
        return
    option["deprecated"] = True
    mentioned = [name for name in re.findall(r"--[a-z][\w-]+", help_text) if name not in option["names"]]
    new = _text(keywords.get("new_flag")) or (mentioned[0] if mentioned else "")
    if new:
        option["replaced_by"] = new


def _kind(node: ast.expr) -> str:
    text = _text(node)
    return _KINDS.get(text, text)


def _simple(kind: str) -> str:
    return kind if kind in ("int", "float") else "str"


def _walk_in_order(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_in_order(child)


def _text(node: ast.expr | None) -> str:
    if node is None:
        return ""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def joined_text(node: ast.expr | None) -> str:
    """All string pieces of a help text, f-strings and concatenations included."""
    if node is None:
        return ""
    return "".join(n.value for n in _walk_in_order(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
