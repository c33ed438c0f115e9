"""vLLM's configuration classes as options: what its `get_kwargs` makes of their fields, from the syntax trees alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from recipes.flags.annotations import Hint, hints
from recipes.flags.literals import NotLiteral, Sources

_FACTORIES: dict[str, Any] = {"dict": {}, "list": [], "set": []}
_SCALES = {"max_model_len": "scaled_int_or_auto"}
_SCALED = ("max_num_batched_tokens", "kv_cache_memory_bytes", "safetensors_prefetch_block_size")


@dataclass(frozen=True)
class Field:
    name: str
    module: str
    annotation: ast.expr
    default: ast.expr | None
    docs: str

    @property
    def given(self) -> bool:
        """False where only the engine sets it (`init=False`)."""
        keywords = self.default.keywords if isinstance(self.default, ast.Call) else []
        return not any(keyword.arg == "init" and ast.unparse(keyword.value) == "False" for keyword in keywords)


def fields(sources: Sources, module: str, name: str) -> list[Field]:
    """The dataclass fields of a class, inherited ones first. Raises NotLiteral."""
    found: dict[str, Field] = {}
    module, owner = sources.find(module, name)
    if not isinstance(owner, ast.ClassDef):
        raise NotLiteral(f"{module}.{name} is no class")
    for base in owner.bases:
        with suppress(NotLiteral):  # a base outside the release, such as ABC, has no fields
            found |= {field.name: field for field in fields(sources, module, ast.unparse(base))}
    for statement, following in zip(owner.body, [*owner.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if ast.unparse(statement.annotation).startswith(("ClassVar", "InitVar")):
            continue
        match following:
            case ast.Expr(value=ast.Constant(value=str(docs))):
                pass
            case _:
                docs = ""
        target = statement.target.id
        found[target] = Field(target, module, statement.annotation, statement.value, docs)
    return list(found.values())


def keywords(sources: Sources, module: str, name: str) -> dict[str, dict[str, Any]]:
    """Option facts (type, nargs, choices, action, const, optional, keys, default, deprecated) by field."""
    return {field.name: _facts(sources, field) for field in fields(sources, module, name)}


def _facts(sources: Sources, field: Field) -> dict[str, Any]:
    union = hints(sources, field.module, field.annotation)
    facts: dict[str, Any] = {"action": "store", **_value(sources, field.name, union)}
    with suppress(NotLiteral):  # a default may depend on the machine
        facts["default"] = _default(sources, field)
    kinds = {hint.kind for hint in union}
    if "none" in kinds and "bool" not in kinds:
        facts["optional"] = True
        if "choices" in facts:
            facts["choices"] = [*facts["choices"], "None"]
    if "deprecated: " in field.docs.lower() or "is deprecated" in field.docs.lower():
        facts["deprecated"] = True
    return facts


def _value(sources: Sources, name: str, union: tuple[Hint, ...]) -> dict[str, Any]:
    """In the order in which `get_kwargs` looks at the union's members."""
    kinds = {hint.kind for hint in union}
    by_kind = {hint.kind: hint for hint in reversed(union)}
    for hint in union:
        if _is_dataclass(hint):
            return {"type": "json_object", "keys": keys(sources, hint)}
    if kinds == {"bool", "str", "none"}:
        return {"type": "str", "nargs": "?", "const": True}
    if "bool" in kinds:
        return {"action": "BooleanOptionalAction"}
    if "literal" in kinds:
        values = by_kind["literal"].values
        kind = type(values[0]).__name__
        return {"type": kind} if "str" in kinds else {"type": kind, "choices": sorted(values)}
    for kind in ("tuple", "list", "set"):
        if kind in kinds:
            return _collection(by_kind[kind])
    if "int" in kinds:
        return {"type": "scaled_int" if name in _SCALED else _SCALES.get(name, "int")}
    if "float" in kinds:
        return {"type": "float"}
    if "dict" in kinds:
        others = kinds & {"str", "class", "other"}
        return {"type": "json_or_str" if others else "json"}
    return {"type": "str"}


def _collection(hint: Hint) -> dict[str, Any]:
    element = hint.elements[0] if hint.elements else ()
    facts: dict[str, Any] = {"type": "str", "nargs": "+"}
    if len(element) == 1 and element[0].kind == "literal":
        facts |= {"type": type(element[0].values[0]).__name__, "choices": sorted(element[0].values)}
    elif len(element) == 1 and element[0].kind in ("int", "float"):
        facts["type"] = element[0].kind
    if hint.kind == "tuple" and not hint.text.endswith("...]"):
        facts["nargs"] = len(hint.elements)
    return facts


def keys(sources: Sources, hint: Hint, inside: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a JSON object may hold: type, choices and, for an object in it, its own keys; no other keys are taken."""
    if hint.text in inside:
        return {}
    known: dict[str, Any] = {}
    for field in fields(sources, hint.module, hint.text):
        if not field.given or field.name.startswith("_"):
            continue
        known[field.name] = dict(_key(sources, field, (*inside, hint.text)))
    return known


def _key(sources: Sources, field: Field, inside: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    union = hints(sources, field.module, field.annotation)
    nested = next((hint for hint in union if _is_dataclass(hint)), None)
    types = [_JSON_TYPES.get(hint.kind) for hint in union if hint.kind != "none"]
    if nested is not None and len(types) == 1:
        yield "type", "object"
        yield "keys", keys(sources, nested, inside)
    elif None not in types:
        yield "type", sorted(set(types))
        literals = [value for hint in union for value in hint.values]
        if literals and all(hint.kind in ("literal", "none") for hint in union):
            yield "type", [_LITERAL_TYPES[type(literals[0]).__name__]]
            yield "choices", literals
    with suppress(NotLiteral):
        yield "default", _default(sources, field)


_LITERAL_TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
_JSON_TYPES = {
    "bool": "boolean", "int": "integer", "float": "number", "str": "string", "dict": "object",
    "list": "array", "set": "array", "tuple": "array", "literal": "string",
}  # fmt: skip
"""A class that is no dataclass, or anything that could not be followed, may be written in more than one way."""


def _is_dataclass(hint: Hint) -> bool:
    if hint.node is None:
        return False
    names = [ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in hint.node.decorator_list]
    return any(name.rsplit(".", 1)[-1] in ("config", "dataclass") for name in names)


def _default(sources: Sources, field: Field) -> Any:
    """Raises NotLiteral where it is made by the running program."""
    node = field.default
    if node is None:
        raise NotLiteral(f"{field.name} has no default")
    if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] in ("field", "Field"):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        factory = given.get("default_factory")
        if factory is not None:
            if isinstance(factory, ast.Lambda):
                return sources.evaluate(field.module, factory.body)
            if ast.unparse(factory) in _FACTORIES:
                return _FACTORIES[ast.unparse(factory)]
            raise NotLiteral(f"{field.name}: {ast.unparse(factory)}()")
        node = node.args[0] if node.args else given.get("default")
        if node is None:
            raise NotLiteral(f"{field.name} has no default")
    return sources.evaluate(field.module, node)
