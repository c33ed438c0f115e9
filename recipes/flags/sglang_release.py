"""The catalogue of an SGLang release: `ServerArgs`, and the command lines that take its options."""

from __future__ import annotations

import ast
from typing import Any

from recipes.flags.arguments import field_owners, find_method, in_order, options
from recipes.flags.literals import NotLiteral, Reader, Sources

_SERVER_ARGS = "sglang.srt.server_args"
_COMPILE = "sglang.compile_deep_gemm"
_LAUNCH = "sglang.launch_server"


def extract(version: str, read: Reader) -> dict[str, Any]:
    """Raises NotLiteral."""
    sources = Sources(read)
    server = sources.find_class(_SERVER_ARGS, "ServerArgs")
    return {
        "engine": "sglang",
        "version": version,
        "flags": list(options(sources, _SERVER_ARGS, server)),
        "commands": {
            _LAUNCH: {"config": _merges_config(sources, _SERVER_ARGS), "flags": []},
            _COMPILE: {
                "config": _merges_config(sources, _COMPILE),
                "flags": list(options(sources, _COMPILE, sources.find_class(_COMPILE, "CompileArgs"))),
            },
        },
        "config": {"suffixes": _suffixes(sources)},
        "fields": _fields(sources, server),
        "renamed": _renamed(server),
    }


def _fields(sources: Sources, server: ast.ClassDef) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for module, owner in field_owners(sources, _SERVER_ARGS, server):
        for statement in owner.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                try:
                    value = sources.evaluate(module, statement.value) if statement.value else None
                except NotLiteral:
                    value = None
                fields[statement.target.id] = value
    return in_order(sources, fields)


def _renamed(server: ast.ClassDef) -> dict[str, str]:
    """`args.tp_size = args.tensor_parallel_size` in from_cli_args."""
    pairs = {}
    for statement in find_method(server, "from_cli_args").body:
        match statement:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name(id="args"), attr=field)],
                value=ast.Attribute(value=ast.Name(id="args"), attr=dest),
            ):
                pairs[field] = dest
    return pairs


def _merges_config(sources: Sources, module: str) -> bool:
    """Whether a command line merges --config: `compile_deep_gemm` parses the option and never opens the file."""
    return "ConfigArgumentMerger" in ast.unparse(sources.module(module))


def _suffixes(sources: Sources) -> list[str]:
    module = _config_parser(sources)
    for node in ast.walk(sources.module(module)):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn):
            try:
                values = sources.evaluate(module, node.comparators[0])
            except NotLiteral:
                continue
            if isinstance(values, list) and values and all(str(value).startswith(".") for value in values):
                return values
    raise NotLiteral(f"{module}: which suffixes --config takes")


def _config_parser(sources: Sources) -> str:
    """The module of ConfigArgumentMerger, which moves between releases; imported where it is used."""
    for node in ast.walk(sources.module(_SERVER_ARGS)):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "ConfigArgumentMerger" for alias in node.names):
            return node.module or ""
    raise NotLiteral(f"{_SERVER_ARGS}: where --config is read")
