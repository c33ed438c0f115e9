"""python -m recipes.flags.extract sglang VERSION WHEEL_OR_DIR [--output FILE]: the flag catalogue of a release.

The release is read, never imported: its argument definitions are evaluated from their syntax trees. Get it with
`pip download --no-deps sglang==VERSION`. The catalogue is JSON:

    engine, version
    flags     every server option: names, dest, type, action, nargs, choices, default, required, deprecated, replaced_by
    commands  options that only one command line has, by module; `config`: whether it merges the file of --config
    config    suffixes that file may have
    fields    the ServerArgs fields in order, with their defaults, as the start-up log prints them
    renamed   fields that are filled from an option of another name: {field: dest}
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from recipes.flags.arguments import find_method, options
from recipes.flags.literals import NotLiteral, Reader, Sources

_SERVER_ARGS = "sglang.srt.server_args"
_CONFIG_PARSER = "sglang.srt.server_args_config_parser"
_COMPILE = "sglang.compile_deep_gemm"
_LAUNCH = "sglang.launch_server"


def extract_sglang(version: str, release: Path) -> dict[str, Any]:
    """The catalogue of an SGLang wheel, or of a folder it was unpacked to. Raises NotLiteral, OSError."""
    sources = Sources(_reader(release))
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
    for statement in server.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            try:
                value = sources.evaluate(_SERVER_ARGS, statement.value) if statement.value else None
            except NotLiteral:
                value = None
            fields[statement.target.id] = value
    return fields


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
    for node in ast.walk(sources.module(_CONFIG_PARSER)):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.NotIn):
            try:
                values = sources.evaluate(_CONFIG_PARSER, node.comparators[0])
            except NotLiteral:
                continue
            if isinstance(values, list) and values and all(str(value).startswith(".") for value in values):
                return values
    raise NotLiteral(f"{_CONFIG_PARSER}: which suffixes --config takes")


def _reader(release: Path) -> Reader:
    if release.is_dir():
        return lambda module: _first(
            [release / f"{module.replace('.', '/')}.py", release / module.replace(".", "/") / "__init__.py"]
        )
    archive = zipfile.ZipFile(release)
    members = set(archive.namelist())

    def read(module: str) -> str | None:
        path = module.replace(".", "/")
        member = next((m for m in (f"{path}.py", f"{path}/__init__.py") if m in members), None)
        return archive.read(member).decode() if member else None

    return read


def _first(paths: list[Path]) -> str | None:
    return next((path.read_text(encoding="utf-8") for path in paths if path.is_file()), None)


def render(catalogue: dict[str, Any]) -> str:
    """One option a line, so that two releases can be compared with diff."""
    parts = []
    for key, value in catalogue.items():
        if key == "flags":
            lines = ",\n".join("    " + json.dumps(option, sort_keys=True) for option in value)
            parts.append(f'  "flags": [\n{lines}\n  ]')
        elif key == "fields":
            lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(default)}" for name, default in value.items())
            parts.append(f'  "fields": {{\n{lines}\n  }}')
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value, sort_keys=True)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m recipes.flags.extract", description=__doc__)
    parser.add_argument("engine", choices=["sglang"])
    parser.add_argument("version")
    parser.add_argument("release", type=Path, help="the wheel, or a folder it was unpacked to")
    parser.add_argument("--output", type=Path, help="default: the catalogue beside this file")
    options = parser.parse_args()
    target = options.output or Path(__file__).parent / f"{options.engine}-{options.version}.json"
    try:
        catalogue = extract_sglang(options.version, options.release)
    except (NotLiteral, OSError, zipfile.BadZipFile) as error:
        print(f"extract: cannot read {options.release}: {error}", file=sys.stderr)
        return 1
    target.write_text(render(catalogue), encoding="utf-8")
    print(f"{len(catalogue['flags'])} options in {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
