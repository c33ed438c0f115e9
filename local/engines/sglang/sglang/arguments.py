"""ServerArgs: SGLang's options, the fields made of them, and what it decides from them at start."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from standin.arguments import build_parser, merge_config, namespace_fields, read_catalogue
from standin.environment import Gpu, gpu
from standin.log import log, raw

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
    """What SGLang fills in and says before it logs its arguments."""
    if not (Path(args.model_path) / "config.json").is_file():
        _uncaught(
            f"OSError: {args.model_path} does not appear to have a file named config.json"
            if Path(args.model_path).is_dir()
            else f"OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them "
            f"in the cached files. Check that {args.model_path} is the path to a directory containing a config.json."
        )
    args.tokenizer_path = args.tokenizer_path or args.model_path
    args.served_model_name = args.served_model_name or args.model_path
    args.device = args.device or "cuda"
    args.random_seed = args.random_seed if args.random_seed is not None else int.from_bytes(os.urandom(3), "big")
    args.page_size = args.page_size or 64
    major = args.gpu.architecture[:-1]
    log("Use nsa attention backend for DeepSeek with DSA.")
    args.attention_backend = "nsa"
    log("Setting page size to 64 for DeepSeek DSA.")
    log("Set dense attention kv len threshold to model index_topk=2048 for DeepSeek with DSA.")
    if args.kv_cache_dtype == "auto":
        if args.nsa_prefill_backend or args.nsa_decode_backend:
            log(
                "When specifying --nsa-prefill-backend or --nsa-decode-backend, you should also explicitly set "
                "--kv-cache-dtype (e.g., 'fp8_e4m3' or 'bfloat16'). DeepSeek V3.2 defaults to FP8 KV cache which may "
                "not be compatible with all backends."
            )
        args.kv_cache_dtype = "fp8_e4m3" if int(major) >= 10 else "bfloat16"
    log(f"Setting KV cache dtype to {args.kv_cache_dtype} for DeepSeek DSA on SM{major} device.")
    hopper = int(major) < 10
    args.nsa_prefill_backend = args.nsa_prefill_backend or ("flashmla_sparse" if hopper else "trtllm")
    args.nsa_decode_backend = args.nsa_decode_backend or ("fa3" if hopper else "trtllm")
    log(
        f"Set NSA backends for {args.kv_cache_dtype} KV Cache: prefill={args.nsa_prefill_backend}, "
        f"decode={args.nsa_decode_backend}."
    )
    if args.speculative_algorithm and os.environ.get("SGLANG_ENABLE_SPEC_V2", "").lower() not in ("1", "true"):
        args.disable_overlap_schedule = True
        log(
            "Overlap scheduler is disabled when spec v2 is off or using unsupported speculative algorithm. "
            "You can set env SGLANG_ENABLE_SPEC_V2=True to enable the experimental overlap scheduler. "
        )
    args.mem_fraction_static = args.mem_fraction_static or 0.88
    args.max_running_requests = args.max_running_requests or 48
    args.chunked_prefill_size = args.chunked_prefill_size or 8192
    args.max_prefill_tokens = args.max_prefill_tokens or 16384
    return args


def _uncaught(message: str) -> NoReturn:
    """How an exception in the engine's main module ends it."""
    raw(f'Traceback (most recent call last):\n  File "{sys.argv[0]}", in <module>\n{message}\n')
    raise SystemExit(1)
