"""The catalogue of a vLLM release: `vllm serve`, whose options are made from configuration classes when it starts.

`make_arg_parser` and the `add_cli_args` it calls are followed statement by statement: calls of `add_argument`, the
dictionaries that `get_kwargs` makes of a class, and what is changed in these before they are used. A statement of
another form that touches one of them is an error, so that a later release can't be misread silently.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from itertools import permutations
from typing import Any

from recipes.flags import config_classes
from recipes.flags.annotations import hints
from recipes.flags.arguments import find_method, joined_text
from recipes.flags.literals import NotLiteral, Reader, Sources

_SERVE = "vllm.entrypoints.cli.serve"
_ENGINE = "vllm.engine.arg_utils"

_TYPES = {"human_readable_int": "scaled_int", "json.loads": "json", "int": "int", "float": "float", "str": "str"}


def extract(version: str, read: Reader) -> dict[str, Any]:
    """Raises NotLiteral."""
    sources = Sources(read)
    module, function = sources.function(_SERVE, "make_arg_parser")
    first = _Registration(sources, module, function)
    frontend = _frontend(sources, module)
    engine_class = sources.find_class(_ENGINE, "EngineArgs")
    engine = _Registration(sources, _ENGINE, find_method(engine_class, "add_cli_args"))
    asynchronous = sources.find_class(_ENGINE, "AsyncEngineArgs")
    last = _Registration(sources, _ENGINE, find_method(asynchronous, "add_cli_args"))
    options = [*first.options(), *frontend, *engine.options(), *last.options()]
    for option in options:
        option |= _built_in(sources, option["dest"])
    positionals = [option for option in options if not option["names"][0].startswith("-")]
    return {
        "engine": "vllm",
        "version": version,
        "flags": [option for option in options if option not in positionals],
        "commands": {"vllm serve": {"config": True, "flags": [], "positionals": positionals}},
        "config": {"suffixes": [".yaml", ".yml"]},
        "parser": {"underscores": True, "dotted": True},
        "fields": _engine_fields(sources),
        "renamed": {},
    }


def _built_in(sources: Sources, dest: str) -> dict[str, Any]:
    """Parsers are looked up by name when the server starts, not by argparse; a plug-in may bring others."""
    found = {
        "tool_call_parser": ("vllm.tool_parsers", "_TOOL_PARSERS_TO_REGISTER", "tool-parser-plugin"),
        "reasoning_parser": ("vllm.reasoning", "_REASONING_PARSERS_TO_REGISTER", "reasoning-parser-plugin"),
    }
    if dest not in found:
        return {}
    module, table, plugin = found[dest]
    return {"built_in": sorted(sources.name(module, table)), "plugin": plugin}


def _engine_fields(sources: Sources) -> dict[str, Any]:
    """Fields of AsyncEngineArgs with their defaults, most of which are those of a configuration class."""
    values: dict[str, Any] = {}
    for field in config_classes.fields(sources, _ENGINE, "AsyncEngineArgs"):
        try:
            values[field.name] = _field_default(sources, field.default)
        except NotLiteral:
            values[field.name] = None
    return values


def _field_default(sources: Sources, node: ast.expr | None) -> Any:
    owner = name = ""
    match node:
        case ast.Call(func=ast.Name(id="get_field"), args=[ast.Name(id=owner), ast.Constant(value=str(name))]):
            pass
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            pass
        case None:
            return None
        case _:
            return sources.evaluate(_ENGINE, node)
    facts = config_classes.keywords(sources, _ENGINE, owner)
    return facts[name].get("default") if name in facts else sources.attribute(_ENGINE, owner, name)


def _frontend(sources: Sources, module: str) -> list[dict[str, Any]]:
    """The server's own options: one per field of FrontendArgs, as `_customize_cli_kwargs` changes them."""
    facts = config_classes.keywords(sources, module, "FrontendArgs")
    for name in ("BaseFrontendArgs", "FrontendArgs"):
        method = find_method(sources.find_class(module, name), "_customize_cli_kwargs")
        _Registration(sources, module, method, {"frontend_kwargs": facts}).run()
    return [_option(["--" + name.replace("_", "-")], given) for name, given in facts.items()]


class _Registration:
    """A function that registers options, followed from its first statement to its last."""

    def __init__(
        self, sources: Sources, module: str, function: ast.FunctionDef, known: dict[str, Any] | None = None
    ) -> None:
        self._sources = sources
        self._module = module
        self._body = function.body
        self._known: dict[str, Any] = known or {}

    def options(self) -> list[dict[str, Any]]:
        return list(self._follow(self._body))

    def run(self) -> None:
        for _ in self._follow(self._body):
            raise NotLiteral(f"{self._module}: an option where none is expected")

    def _follow(self, body: list[ast.stmt]) -> Iterator[dict[str, Any]]:
        for statement in body:
            match statement:
                case ast.Expr(value=ast.Call(func=ast.Attribute(attr="add_argument")) as call):
                    yield self._argument(call)
                case ast.If(body=inner):
                    # `--model` unless help is asked for; `del` of a key that is there
                    yield from self._follow(inner)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._bind(name, value)
                case ast.Assign(targets=[ast.Subscript() as target], value=value):
                    self._set(target, value)
                case ast.AugAssign(target=ast.Subscript() as target, value=value):
                    self._set(target, value, add=True)
                case ast.Delete(targets=[ast.Subscript(value=owner, slice=ast.Constant(value=str(key)))]):
                    self._facts(owner).pop(key, None)

    def _bind(self, name: str, value: ast.expr) -> None:
        match value:
            case ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=owner)]):
                self._known[name] = config_classes.keywords(self._sources, self._module, owner)
            case ast.Subscript(value=ast.Name(id=owner)) if owner in self._known:
                self._known[name] = self._facts(value)  # the same dictionary under another name
            case ast.Subscript(
                value=ast.Call(func=ast.Name(id="get_kwargs"), args=[ast.Name(id=owner)]),
                slice=ast.Constant(value=str(key)),
            ):
                self._known[name] = config_classes.keywords(self._sources, self._module, owner)[key]

    def _facts(self, node: ast.expr) -> dict[str, Any]:
        """A dictionary of facts, or of these by field. Raises NotLiteral."""
        match node:
            case ast.Name(id=name) if name in self._known:
                return self._known[name]
            case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))):
                return self._facts(owner)[key]
        raise NotLiteral(f"{self._module}: {ast.unparse(node)}")

    def _set(self, target: ast.Subscript, value: ast.expr, *, add: bool = False) -> None:
        owner, key = self._facts(target.value), ast.literal_eval(target.slice)
        if key in ("metavar", "help"):
            return
        if ast.unparse(value) == "argparse.SUPPRESS":
            owner.pop(key, None)
            return
        fact = self._fact(key, value)
        if isinstance(fact, dict):
            owner.pop("optional", None)  # a parser of its own replaces the one that took the word None
            owner.update(fact)
        else:
            owner[key] = owner[key] + fact if add else fact

    def _fact(self, key: str, value: ast.expr) -> Any:
        text = ast.unparse(value)
        if key == "type":
            return self._type(value)
        if key == "action":
            return ast.literal_eval(value) if isinstance(value, ast.Constant) else text.rsplit(".", 1)[-1]
        match value:
            case ast.ListComp(elt=ast.Call(func=ast.Attribute(attr="join", value=ast.Constant(value=str(separator))))):
                return [separator.join(pair) for pair in permutations(self._literals(value), 2)]
            case ast.Call(func=ast.Name(id="get_args"), args=[words]):
                return [word for hint in hints(self._sources, self._module, words) for word in hint.values]
        return self._sources.evaluate(self._module, value)

    def _literals(self, loop: ast.ListComp) -> list[str]:
        """The words of `permutations(get_args(WORDS), r=2)`."""
        match loop.generators[0].iter:
            case ast.Call(
                func=ast.Name(id="permutations"),
                args=[ast.Call(func=ast.Name(id="get_args"), args=[words])],
                keywords=[ast.keyword(arg="r", value=ast.Constant(value=2))],
            ):
                return [str(word) for hint in hints(self._sources, self._module, words) for word in hint.values]
        raise NotLiteral(f"{self._module}: {ast.unparse(loop)}")

    def _type(self, value: ast.expr) -> dict[str, Any]:
        match value:
            case ast.Call(func=ast.Name(id="optional_type"), args=[inner]):
                return {**self._type(inner), "optional": True}
            case ast.Lambda(body=body) if ast.unparse(body) == "s.lower().replace('-', '_')":
                return {"type": "lower_snake"}
        return {"type": _TYPES.get(ast.unparse(value), "str")}  # what other functions take is not looked at

    def _argument(self, call: ast.Call) -> dict[str, Any]:
        facts: dict[str, Any] = {"action": "store"}
        help_text = ""
        for keyword in call.keywords:
            if keyword.arg is None:
                facts |= self._unpacked(keyword.value)
            elif keyword.arg == "help":
                help_text = joined_text(keyword.value)
            elif keyword.arg == "type":
                facts |= self._type(keyword.value)
            elif keyword.arg not in ("metavar",):
                try:
                    facts[keyword.arg] = self._fact(keyword.arg, keyword.value)
                except NotLiteral:
                    if keyword.arg not in ("default", "choices"):  # these may depend on the machine
                        raise
        if "is deprecated" in help_text.lower():
            facts["deprecated"] = True
        return _option([ast.literal_eval(name) for name in call.args], facts)

    def _unpacked(self, value: ast.expr) -> dict[str, Any]:
        """`**kwargs["name"]`, or `**{**kwargs["name"], "default": None}`."""
        if not isinstance(value, ast.Dict):
            return copy.deepcopy(self._facts(value))
        facts: dict[str, Any] = {}
        for key, item in zip(value.keys, value.values, strict=True):
            if key is None:
                facts |= copy.deepcopy(self._facts(item))
            else:
                facts[ast.literal_eval(key)] = self._sources.evaluate(self._module, item)
        return facts


def _option(names: list[str], facts: dict[str, Any]) -> dict[str, Any]:
    """As argparse would name it: the first long name gives the attribute."""
    long = [name for name in names if name.startswith("--")]
    option: dict[str, Any] = {"names": list(names), "dest": (long or names)[0].lstrip("-").replace("-", "_"), **facts}
    if option["action"] == "BooleanOptionalAction":
        option["names"] += [f"--no-{name.removeprefix('--')}" for name in long]
        option.pop("type", None)
    elif option["action"] == "store":
        option.setdefault("type", "str")
    return option
