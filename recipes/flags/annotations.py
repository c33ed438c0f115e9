"""What a field's annotation says about its values: unions taken apart, aliases followed, literals listed."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from recipes.flags.literals import NotLiteral, Sources

_BUILTIN = ("bool", "int", "float", "str", "dict", "list", "set", "tuple")
_WRAPPERS = ("Annotated", "ClassVar", "Final", "Optional")
_ALIASES = {"Dict": "dict", "List": "list", "Set": "set", "Tuple": "tuple"}


@dataclass(frozen=True)
class Hint:
    """One member of a union. `kind`: a built-in's name, `none`, `literal`, `class` (of the release) or `other`."""

    kind: str
    text: str
    values: tuple[Any, ...] = ()
    """Of a literal."""
    elements: tuple[tuple[Hint, ...], ...] = ()
    """Of a list, dict …: the union in each pair of its brackets."""
    module: str = ""
    node: ast.ClassDef | None = None


def hints(sources: Sources, module: str, node: ast.expr) -> tuple[Hint, ...]:
    """The members of an annotation's union in the order they are written; what can't be followed is `other`."""
    match node:
        case ast.Constant(value=None):
            return (Hint("none", "None"),)
        case ast.Constant(value=str(text)):
            return hints(sources, module, ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return hints(sources, module, left) + hints(sources, module, right)
        case ast.Subscript(value=value, slice=inner):
            return _subscript(sources, module, _last(value), inner, node)
        case ast.Name(id=name) if name in _BUILTIN:
            return (Hint(name, name),)
        case ast.Name(id=name):
            return _named(sources, module, name)
    return (Hint("other", ast.unparse(node)),)


def _subscript(sources: Sources, module: str, name: str, inner: ast.expr, node: ast.expr) -> tuple[Hint, ...]:
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    name = _ALIASES.get(name, name)
    if name == "Literal":
        return (Hint("literal", ast.unparse(node), values=tuple(_values(sources, module, items))),)
    if name == "Union":
        return tuple(hint for item in items for hint in hints(sources, module, item))
    if name in _WRAPPERS:
        inside = hints(sources, module, items[0])
        return (*inside, Hint("none", "None")) if name == "Optional" else inside
    if name in _BUILTIN:
        elements = tuple(hints(sources, module, item) for item in items if ast.unparse(item) != "...")
        return (Hint(name, ast.unparse(node), elements=elements),)
    return (Hint("other", ast.unparse(node)),)


def _values(sources: Sources, module: str, items: list[ast.expr]) -> list[Any]:
    """Members of a Literal; a nested one counts as its members."""
    values: list[Any] = []
    for item in items:
        if isinstance(item, ast.Constant):
            values.append(item.value)
            continue
        for hint in hints(sources, module, item):
            if hint.kind != "literal":
                raise NotLiteral(f"{module}: {ast.unparse(item)} in a Literal")
            values += hint.values
    return list(dict.fromkeys(values))


def _named(sources: Sources, module: str, name: str) -> tuple[Hint, ...]:
    try:
        where, node = sources.find(module, name)
    except NotLiteral:
        return (Hint("other", name),)
    if isinstance(node, ast.ClassDef):
        return (Hint("class", name, module=where, node=node),)
    if isinstance(node, (ast.Name, ast.Subscript, ast.BinOp)):
        return hints(sources, where, node)
    return (Hint("other", name),)


def _last(node: ast.expr) -> str:
    return ast.unparse(node).rsplit(".", 1)[-1]
