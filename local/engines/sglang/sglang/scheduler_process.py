"""The scheduler: a child process that loads the weights, captures the graphs and runs the batches."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from standin import checkpoint
from standin.batching import Limits, Scheduler, name_process
from standin.channel import Channel, fork
from standin.environment import fault
from standin.log import log, raw, set_prefix

from sglang.arguments import ServerArgs
from sglang.batch_log import BatchLog
from sglang.warm_caches import KernelCaches


def start(args: ServerArgs, config: dict[str, Any], compiling: bool) -> tuple[int, socket.socket]:
    """Forks the scheduler; returns its process id and the server's end of the channel."""

    def child(channel: Channel) -> int:
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        return _main(channel, args, config, compiling)

    return fork(child)


def _main(channel: Channel, args: ServerArgs, config: dict[str, Any], compiling: bool) -> int:
    name_process("sglang::scheduler")
    set_prefix(" TP0" if args.tp_size > 1 else "")
    parent = os.getppid()
    try:
        caches, limits, facts = _load(args, config, compiling)
        channel.send({"t": "ready", **facts})
        Scheduler(channel, limits, caches.for_prefill, BatchLog(limits)).run()
    except (BrokenPipeError, KeyboardInterrupt):
        return 0  # the server is gone
    except BaseException:
        log(f"Scheduler hit an exception: {traceback.format_exc()}")
        os.kill(parent, signal.SIGQUIT)
        # A signal that comes just before the server waits for our first word does not wake it up; this does.
        channel.socket.close()
        time.sleep(60)  # until the server kills its process tree, this process with it
        return 1
    return 0


def _load(args: ServerArgs, config: dict[str, Any], compiling: bool) -> tuple[KernelCaches, Limits, dict[str, Any]]:
    gpu = args.gpu
    if gpu.count < args.tp_size:
        raise RuntimeError(
            f"CUDA error: invalid device ordinal (tp_size={args.tp_size}, but there are {gpu.count} GPUs)"
        )
    log("Init torch distributed begin.")
    log("Init torch distributed ends. elapsed=0.00 s, mem usage=0.09 GB")
    free = gpu.memory_gb
    log(f"Load weight begin. avail mem={free:.2f} GB")
    log("Detected fp8 checkpoint.")
    started = time.monotonic()
    _load_faults()
    folder = Path(args.model_path)
    if args.get("weight_loader_prefetch_checkpoints"):
        _prefetch(args, folder)
    size = 0 if args.load_format == "dummy" else checkpoint.load(folder, config).bytes
    took = size / args.tp_size / 1e9
    free -= took
    log(
        f"Load weight end. elapsed={time.monotonic() - started:.2f} s, type={config['architectures'][0]}, quant=fp8, "
        f"fmt=e4m3, avail mem={free:.2f} GB, mem usage={took:.2f} GB."
    )
    if args.speculative_algorithm:
        log(f"Load weight begin. avail mem={free:.2f} GB")
        log("Config does not support fused shared expert(s). Shared experts fusion optimization is disabled.")
        log(
            f"Load weight end. elapsed=0.00 s, type={config['architectures'][0]}NextN, quant=fp8, fmt=e4m3, "
            f"avail mem={free:.2f} GB, mem usage=0.00 GB."
        )
    width = 1 if args.kv_cache_dtype.startswith("fp8") else 2
    per_layer = (config["kv_lora_rank"] + config["qk_rope_head_dim"]) * width + config["index_head_dim"] + 4
    per_token = per_layer * config["num_hidden_layers"]
    fits = int(max(0.0, free - gpu.memory_gb * (1 - args.mem_fraction_static)) * 1e9 / per_token)
    pool = min(fits, args.max_total_tokens or fits)
    pool = max(args.page_size, pool // args.page_size * args.page_size)
    for layers in (config["num_hidden_layers"], 1) if args.speculative_algorithm else (config["num_hidden_layers"],):
        taken = pool * per_layer * layers / 1e9
        free -= taken
        dtype = "float8_e4m3fn" if width == 1 else "bfloat16"
        log(f"KV Cache is allocated. dtype: torch.{dtype}, #tokens: {pool}, KV size: {taken:.2f} GB")
        log(f"Memory pool end. avail mem={free:.2f} GB")
    caches = KernelCaches(config, args, free, compiling)
    if not args.disable_cuda_graph:
        _capture_graphs(args, caches, free)
    context = args.context_length or config["max_position_embeddings"]
    log(
        f"max_total_num_tokens={pool}, chunked_prefill_size={args.chunked_prefill_size}, "
        f"max_prefill_tokens={args.max_prefill_tokens}, max_running_requests={args.max_running_requests}, "
        f"context_len={context}, available_gpu_mem={free:.2f} GB"
    )
    log(
        "Tree cache initialized: source=default impl=RadixCache hybrid_swa=False hybrid_ssm=False hierarchical=False "
        "streaming_wrapped=False"
    )
    accept = (3, 4) if args.speculative_algorithm else (1,)
    limits = Limits(args.max_running_requests, pool, args.max_prefill_tokens, args.page_size, accept)
    return caches, limits, {"pool": pool, "context": context, "free_gb": free, "seconds": time.monotonic() - started}


def _prefetch(args: ServerArgs, folder: Path) -> None:
    """Rank 0's share of the shards, read ahead by threads of its own."""
    from concurrent.futures import ThreadPoolExecutor

    shards = sorted(folder.glob("*.safetensors"))
    mine = shards[:: args.tp_size]
    threads = args.weight_loader_prefetch_num_threads
    log(
        f"Rank 0: prefetching {len(mine)}/{len(shards)} checkpoint shards into page cache (background, {args.tp_size} "
        f"local ranks sharing the work, {threads} threads per rank)..."
    )
    started = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(Path.read_bytes, mine))
    log(f"Rank 0: prefetching checkpoint files into page cache finished in {time.monotonic() - started:.2f}s")


def _load_faults() -> None:
    if slow := fault("slow-start"):
        time.sleep(slow.argument)
    if fault("oom-at-load"):
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if fault("scheduler-oom-at-load"):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault("die-at-load"):
        raise RuntimeError(
            "Not enough memory. Please try to increase --mem-fraction-static. (ordered by STANDIN_FAULT=die-at-load)"
        )


def _capture_graphs(args: ServerArgs, caches: KernelCaches, free: float) -> None:
    asked = args.get("cuda_graph_max_bs", "cuda_graph_max_bs_decode")
    largest = min(args.max_running_requests, asked or args.max_running_requests)
    sizes = [size for size in (1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 64, 96, 128) if size <= largest] or [1]
    drafts = args.speculative_num_draft_tokens or 1
    kinds: tuple[tuple[str, int, str], ...]
    if args.speculative_algorithm:
        kinds = (("target verify", drafts, "capture"), ("draft decode", 1, "draft"), ("draft extend", drafts, ""))
    else:
        kinds = (("target decode", 1, "capture"),)
    for kind, tokens, stage in kinds:
        log(
            f"Capture {kind} CUDA graph begin. backend=full, num_tokens_per_req={tokens}, bs={sizes}, "
            f"avail mem={free:.2f} GB"
        )
        started = time.monotonic()
        raw(f"\r  0%|          | 0/{len(sizes)} [00:00<?, ?it/s]")
        if stage:
            caches.for_graphs([size * tokens for size in sizes], stage)
        for done, size in enumerate(reversed(sizes), 1):
            share = done * 10 // len(sizes)
            raw(
                f"\rCapturing batches (bs={size} avail_mem={free:.2f} GB): {done * 100 // len(sizes):3d}%|"
                f"{'█' * share}{' ' * (10 - share)}| {done}/{len(sizes)}"
            )
        raw("\n")
        log(
            f"Capture {kind} CUDA graph end. elapsed={time.monotonic() - started:.2f} s, mem usage=0.00 GB, "
            f"avail mem={free:.2f} GB."
        )
