"""`vllm serve …` and `python3 -m vllm.entrypoints.openai.api_server …`: their words, before argparse sees them."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from standin.arguments import add_options, read_catalogue

from vllm import log
from vllm.version import __version__

_SUBCOMMANDS = ("chat", "complete", "serve", "launch", "bench", "collect-env", "run-batch")
_MODEL = re.compile(r"^--model(=.+|$)")
_COMMAND = "vllm serve"


def parse_vllm(argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The words behind `vllm`: the options of `serve` and their defaults. Ends the process for anything else."""
    catalogue = read_catalogue("vllm", __version__)
    parser = argparse.ArgumentParser(prog="vllm", description="vLLM CLI")
    parser.add_argument("-v", "--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=False, dest="subparser", metavar="{" + ",".join(_SUBCOMMANDS) + "}")
    for name in _SUBCOMMANDS:
        usage = "vllm serve [model_tag] [options]" if name == "serve" else None
        below = subparsers.add_parser(name, usage=usage)
        if name == "serve":
            add_options(below, catalogue, _COMMAND)
    if argv and argv[0] == "serve":
        argv = _with_model_first(argv)
    parsed = parser.parse_args(_normal(_with_config(argv)))
    if parsed.subparser is None:
        parser.print_help()
        raise SystemExit(0)
    if parsed.subparser != "serve":
        raise SystemExit(f"stand-in: `vllm {parsed.subparser}` has no stand-in; `vllm serve` has")
    if parsed.model_tag is not None:
        parsed.model = parsed.model_tag
    return parsed, _defaults(catalogue)


def parse_api_server(argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The same options for the module that starts the server without the command."""
    catalogue = read_catalogue("vllm", __version__)
    parser = argparse.ArgumentParser(prog="api_server.py", description="vLLM OpenAI-Compatible RESTful API server.")
    add_options(parser, catalogue, _COMMAND)
    return parser.parse_args(_normal(_with_config(argv))), _defaults(catalogue)


def _defaults(catalogue: dict[str, Any]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_options(parser, catalogue, _COMMAND)
    return vars(parser.parse_args([]))


def _with_model_first(argv: list[str]) -> list[str]:
    """`--model X` moved to where `serve` wants it. Raises ValueError where served names come without a model."""
    found = next((index for index, word in enumerate(argv) if _MODEL.match(word)), None)
    if found is not None:
        log.warning(
            "argparse_utils.py:257",
            "With `vllm serve`, you should provide the model as a positional argument or in a config file instead of "
            "via the `--model` option. The `--model` option will be removed in a future version.",
        )
        model = argv[found].partition("=")[2]
        rest = argv[found + 1 :] if model else argv[found + 2 :]
        return [argv[0], model or argv[found + 1], *argv[1:found], *rest]
    served = any(re.match(r"^--served[-_]model[-_]name(=.+|$)", word) for word in argv)
    config = any(re.match(r"^--config(=.+|$)", word) for word in argv)
    if len(argv) > 1 and argv[1].startswith("-") and served and not config:
        raise ValueError(
            "`model` should be provided as the first positional argument when using `vllm serve`. i.e. `vllm serve "
            "<model> --<arg> <value>`."
        )
    return argv


def _with_config(argv: list[str]) -> list[str]:
    """`--config FILE` replaced by the file's entries, behind the model and before everything else."""
    if "--config" not in argv:
        return argv
    index = argv.index("--config")
    if index == len(argv) - 1:
        raise ValueError("No config file specified! Please check your command-line arguments.")
    entries = _read_config(argv[index + 1])
    rest = argv[:index] + argv[index + 2 :]
    if not rest or rest[0].startswith("-"):
        return entries + rest
    if rest[0] == "serve" and len(rest) > 1 and not rest[1].startswith("-"):
        return rest[:2] + entries + rest[2:]
    if rest[0] == "serve" and "--model" not in entries:
        raise ValueError(
            "No model specified! Please specify model either as a positional argument or in a config file."
        )
    return rest[:1] + entries + rest[1:]


def _read_config(path: str) -> list[str]:
    suffix = path.split(".")[-1]
    if suffix not in ("yaml", "yml"):
        raise ValueError(f"Config file must be of a yaml/yml type. {suffix} supplied")
    import yaml

    words: list[str] = []
    for key, value in yaml.safe_load(Path(path).read_text(encoding="utf-8")).items():
        if isinstance(value, bool):
            words += [f"--{key}"] if value else []
        elif isinstance(value, list):
            words += [f"--{key}", *map(str, value)] if value else []
        else:
            words += [f"--{key}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def _normal(argv: list[str]) -> list[str]:
    """Options with dashes, `--config.key value` gathered into JSON, repeated ones warned about."""
    words: list[str] = []
    nested: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    repeated: set[str] = set()
    waiting = iter(argv)
    for word in waiting:
        if not word.startswith("--"):
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        option, dot, keys = name.partition(".")
        option = option.replace("_", "-")
        if dot:
            _nest(nested.setdefault(option, {}), keys.split("."), value if equals else next(waiting, ""))
            continue
        if option in seen:
            repeated.add(option)
        seen.add(option)
        words.append(f"{option}{equals}{value}")
    if repeated:
        log.warning("argparse_utils.py:369", f"Found duplicate keys {', '.join(sorted(repeated))}")
    for option, document in nested.items():
        words += [option, json.dumps(document)]
    return words


def _nest(document: dict[str, Any], keys: list[str], text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for key in keys[:-1]:
        document = document.setdefault(key, {})
    document[keys[-1]] = value
