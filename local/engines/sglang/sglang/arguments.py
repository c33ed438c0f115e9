"""ServerArgs: SGLang's options, the fields made of them, and what it decides from them at start."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from standin.arguments import build_parser, merge_config, namespace_fields, read_catalogue
from standin.environment import Gpu, gpu
from standin.log import raw

from sglang.defaults import fill
from sglang.version import __version__


class ServerArgs:
    """The engine's own argument object: attributes as SGLang names them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)
        self._names = tuple(fields)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"ServerArgs of sglang {__version__} has no field {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value

    def __repr__(self) -> str:
        """Every field with its value, the API key among them: releases up to 0.5.16 log it so."""
        return f"ServerArgs({', '.join(f'{name}={getattr(self, name)!r}' for name in self._names)})"

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def get(self, *names: str) -> Any:
        """The first of these fields that this release has: some have changed their names."""
        return next((self.__dict__[name] for name in names if name in self._names), None)

    @property
    def gpu(self) -> Gpu:
        return gpu(self.tp_size)

    @property
    def base_url(self) -> str:
        host = "127.0.0.1" if self.host in (None, "", "0.0.0.0") else self.host
        return f"http://{host}:{self.port}"


def parse_launch(argv: list[str]) -> ServerArgs:
    """`python3 -m sglang.launch_server …`, the file of --config included."""
    catalogue = read_catalogue("sglang", __version__)
    parser = build_parser(catalogue, "sglang.launch_server", "sglang serve")
    try:
        argv = merge_config(catalogue, parser, argv)
    except ValueError as error:
        _uncaught(f"ValueError: {error}")
    return _complete(ServerArgs(namespace_fields(catalogue, parser.parse_args(argv))))


def parse_compile(argv: list[str]) -> tuple[ServerArgs, int]:
    """`python3 -m sglang.compile_deep_gemm …`: the arguments and --timeout in seconds. --config is not opened."""
    catalogue = read_catalogue("sglang", __version__)
    parsed: argparse.Namespace = build_parser(catalogue, "sglang.compile_deep_gemm", "compile_deep_gemm.py").parse_args(
        argv
    )
    return _complete(ServerArgs(namespace_fields(catalogue, parsed))), parsed.timeout


def _complete(args: ServerArgs) -> ServerArgs:
    if not (Path(args.model_path) / "config.json").is_file():
        _uncaught(
            f"OSError: {args.model_path} does not appear to have a file named config.json"
            if Path(args.model_path).is_dir()
            else f"OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them "
            f"in the cached files. Check that {args.model_path} is the path to a directory containing a config.json."
        )
    fill(args)
    return args


def _uncaught(message: str) -> NoReturn:
    """How an exception in the engine's main module ends it."""
    raw(f'Traceback (most recent call last):\n  File "{sys.argv[0]}", in <module>\n{message}\n')
    raise SystemExit(1)
