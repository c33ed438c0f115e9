"""Runs a release's own argument handling on a machine that has none of its libraries, with a pretended GPU.

`python without_torch.py ENGINE RELEASE_FOLDER`, in a process of its own: what is missing (torch, transformers, CUDA
packages, …) is replaced by nothing, the release's argument modules are the real ones. vLLM: prints its options and what
it parses of the command lines on standard input. SGLang: one question a line of standard input, one answer a line of
standard output, each from a fork, since it caches what it learns about a GPU. All JSON.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from typing import Any, ClassVar, Union

_OTHER_DEVICES = ("npu", "xpu", "hpu", "musa", "mps")
_NEVER = ("msvcrt", "winreg", "nt", "java", "org", "pydantic_core")


class _AnyClass(type):
    """A class of which every attribute is another such class, and that goes with any operator."""

    def __new__(mcs, name: str, bases: tuple[type, ...], members: dict[str, Any], **keywords: Any) -> Any:
        return super().__new__(mcs, name, bases, members)

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **keywords: Any) -> None:
        super().__init__(name, bases, members)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _AnyClass(name, (_Nothing,), {})
        setattr(cls, name, made)
        return made

    def __or__(cls, other: Any) -> Any:
        return Union[cls, other]  # noqa: UP007 -- this is what X | Y calls

    def __ror__(cls, other: Any) -> Any:
        return Union[other, cls]  # noqa: UP007

    def __add__(cls, other: Any) -> Any:
        return cls

    __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = __add__

    def __neg__(cls) -> Any:
        return cls

    def __lt__(cls, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __getitem__(cls, key: Any) -> Any:
        return cls

    def __setitem__(cls, key: Any, value: Any) -> None: ...

    def __iter__(cls) -> Any:
        return iter(())

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(type(instance), _AnyClass) or type(instance) is _AnyClass


class _Nothing(metaclass=_AnyClass):
    """An instance does nothing; as a decorator it gives the function back."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) == 1 and not keywords and isinstance(arguments[0], types.FunctionType):
            return arguments[0]
        return object.__new__(cls)

    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass(name, (_Nothing,), {})

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return arguments[0] if arguments and callable(arguments[0]) else _Nothing()

    def __iter__(self) -> Any:
        return iter(())

    def __getitem__(self, key: Any) -> Any:
        return _Nothing()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: Any) -> None: ...

    def __bool__(self) -> bool:
        return False

    def __lt__(self, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.any_schema()


class _EmptyModule(types.ModuleType):
    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _OTHER_DEVICES:
            raise AttributeError(name)
        made = _AnyClass(name, (_Nothing,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, engine: str, replaced: tuple[str, ...]) -> None:
        self._engine = engine
        self._replaced = replaced

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return self._spec(name) if self.replaces(name) else None

    def replaces(self, name: str) -> bool:
        return any(name == prefix or name.startswith(f"{prefix}.") for prefix in self._replaced)

    def _spec(self, name: str) -> Any:
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


class _Last(_Missing):
    """Asked when nothing else has the module: everything that isn't the engine's own."""

    def replaces(self, name: str) -> bool:
        top = name.partition(".")[0]
        return top != self._engine and not top.startswith("_") and top not in _NEVER


def install(engine: str, folder: str, replaced: tuple[str, ...]) -> None:
    import importlib.metadata
    import re

    sys.path.insert(0, folder)
    sys.modules["regex"] = re
    sys.meta_path.insert(0, _Missing(engine, replaced))
    sys.meta_path.append(_Last(engine, replaced))
    known = importlib.metadata.version

    def version(name: str) -> str:
        try:
            return known(name)
        except importlib.metadata.PackageNotFoundError:
            return "99.0"

    importlib.metadata.version = version


def vllm_parser(folder: str) -> Any:
    """The parser of `vllm serve`."""
    parts = ("_C", "tool_parsers", "entrypoints.openai.models", "sampling_params", "distributed", "model_executor",
             "v1.worker", "v1.core", "v1.engine", "v1.sample", "multimodal", "lora", "compilation", "ir", "renderers",
             "inputs", "utils.torch_utils", "triton_utils")  # fmt: skip
    # What is installed here for tests is not what vLLM finds beside it: FastAPI comes with extras there.
    install("vllm", folder, (*(f"vllm.{part}" for part in parts), "fastapi", "starlette", "openai"))
    sys.argv = ["vllm", "serve"]
    import vllm.platforms  # type: ignore[import-not-found]

    type(vllm.platforms.current_platform).device_type = "cuda"
    from vllm.entrypoints.openai.cli_args import make_arg_parser  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

    return make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))


def _option(action: argparse.Action) -> dict[str, Any]:
    kind = getattr(action.type, "__qualname__", None) if action.type else None
    inner = [
        getattr(cell.cell_contents, "__qualname__", str(cell.cell_contents))
        for cell in getattr(action.type, "__closure__", None) or ()
    ]
    return {
        "names": list(action.option_strings),
        "dest": action.dest,
        "action": type(action).__name__,
        "nargs": action.nargs,
        "choices": list(action.choices) if action.choices else None,
        "type": kind,
        "inner": inner,
        "default": action.default if isinstance(action.default, bool | int | float | str | None) else "…",
    }


def main() -> None:
    engine, folder = sys.argv[1:3]
    if engine == "vllm":
        parser = vllm_parser(folder)
        options = [_option(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        parsed = [vars(parser.parse_args(json.loads(line))) for line in sys.stdin]
        print(json.dumps({"options": options, "parsed": parsed}, default=lambda value: f"<{type(value).__name__}>"))
        return
    server_args = sglang_arguments(folder)
    for line in sys.stdin:
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                answer: Any = sglang_fields(server_args, **json.loads(line))
            except BaseException as error:
                answer = repr(error)
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            print(pipe.read(), flush=True)
        os.wait()


class _Model(types.SimpleNamespace):
    """What ServerArgs asks of a model: of the kinds (`is_multimodal`, …) it is none but those said."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("is_"):
            return False
        raise AttributeError(name)


def sglang_arguments(folder: str) -> Any:
    """The module of ServerArgs."""
    install("sglang", folder, ("sglang.srt.layers", "sglang.srt.lora", "sglang.srt.distributed", "sglang.kernels",
                               "sglang.srt.connector.base", "sglang.lang", "huggingface_hub.dataclasses"))  # fmt: skip
    package = types.ModuleType("sglang")
    package.__path__ = [f"{folder}/sglang"]  # its __init__ loads the whole front end
    sys.modules["sglang"] = package
    import torch  # type: ignore[import-not-found]

    torch.__version__ = "2.9.1"
    torch.version.cuda = "12.9"
    torch.version.hip = None
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 8
    from sglang.srt import server_args  # type: ignore[import-not-found]

    return server_args


def sglang_fields(
    server_args: Any, argv: list[str], environment: dict[str, str], capability: int, memory: int, config: dict[str, Any]
) -> dict[str, Any]:
    """The fields of ServerArgs after its `__post_init__`, for a GPU of a capability (100) with so many MiB."""
    import torch
    from sglang.srt.configs.model_config import AttentionArch  # type: ignore[import-not-found]

    os.environ.update(environment)
    torch.cuda.get_device_capability = lambda *_: divmod(capability, 10)
    server_args.get_device_memory_capacity = lambda *_: memory
    model = _Model(
        attention_arch=AttentionArch.MLA,
        hf_config=types.SimpleNamespace(**config),
        context_len=config["max_position_embeddings"],
        is_generation=True,
    )
    server_args.ServerArgs.model_config = model
    server_args.ServerArgs.get_model_config = lambda self: model
    result = server_args.prepare_server_args(argv)
    return {name: value for name, value in vars(result).items() if isinstance(value, bool | int | float | str | None)}


if __name__ == "__main__":
    main()
