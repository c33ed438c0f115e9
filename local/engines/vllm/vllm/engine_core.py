"""EngineCore: a child process that loads the weights and runs the batches.

The real one has a worker process for each rank below it; here it speaks for rank 0 itself.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from typing import Any

from standin import checkpoint
from standin.batching import Limits, RequestFailed, Scheduler, name_process
from standin.channel import Channel, fork
from standin.environment import fault, scaled

from vllm import log
from vllm.compiled import Compiled
from vllm.engine_config import EngineConfig
from vllm.version import __version__

_UNPREFETCHED = 660.0
"""Seconds that reading shard by shard takes longer on a network file system: 12 minutes instead of one."""


def start(config: EngineConfig) -> tuple[int, socket.socket]:
    """Forks the engine; returns its process id and the server's end of the channel."""
    return fork(lambda channel: _main(channel, config))


def _main(channel: Channel, config: EngineConfig) -> int:
    name_process("VLLM::EngineCor")
    log.set_process("EngineCore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    loaded = False
    try:
        compiled, limits, facts = _load(config)
        loaded = True
        channel.send({"t": "ready", **facts})
        Scheduler(channel, limits, compiled.for_prefill, None).run()
    except BrokenPipeError:
        return 0  # the server is gone
    except SystemExit:
        log.info("core.py:1191", "[shutdown] EngineCore: exiting busy loop")
        return 0
    except BaseException:
        said = "EngineCore encountered a fatal error." if loaded else "EngineCore failed to start."
        log.error("core.py:1197" if loaded else "core.py:1195", f"{said}\n{traceback.format_exc().rstrip()}")
        log.plain(f"Process EngineCore:\n{traceback.format_exc()}")
        return 1
    return 0


def _stop(signum: int, frame: object) -> None:
    log.info("core.py:1178", "[shutdown] EngineCore: trigger received signal=SIGTERM")
    raise SystemExit(0)


def _load(config: EngineConfig) -> tuple[Compiled, Limits, dict[str, Any]]:
    started = time.monotonic()
    args, rank = config.args, "Worker_TP0" if config.tp > 1 else ""
    log.info("core.py:113", f"Initializing a V1 LLM engine (v{__version__}) with config: {_described(config)}")
    log.info(
        "parallel_state.py:1568",
        f"world_size={config.tp} rank=0 local_rank=0 distributed_init_method=tcp://127.0.0.1:0 backend=nccl",
        "Worker" if config.tp > 1 else "",
    )
    log.info("gpu_model_runner.py:5092", f"Starting to load model {config.folder}...", rank)
    weights = _weights(config, rank)
    seconds = time.monotonic() - started
    share = weights / config.tp / 2**30
    log.info("gpu_model_runner.py:5187", f"Model loading took {share:.2f} GiB memory and {seconds:.6f} seconds", rank)
    compiled = Compiled(config)
    profiled = time.monotonic()
    compiling = compiled.graphs(rank)
    available = config.gpu.memory_gb * args.gpu_memory_utilization - share
    pool = _pool(config, available, rank)
    if not args.enforce_eager:
        log.info("gpu_model_runner.py:6585", "Graph capturing finished in 0 secs, took 0.00 GiB", rank)
    compiled.deep_gemm()
    if fault("die-at-warmup"):
        raise RequestFailed("CUDA error: an illegal memory access was encountered")
    log.info(
        "jit_monitor.py:54",
        "Kernel JIT monitor activated — Triton JIT compilations during inference will be logged as warnings.",
        rank,
    )
    took = time.monotonic() - profiled
    log.info(
        "core.py:306",
        f"init engine (profile, create kv cache, warmup model) took {took:.2f} s (compilation: {compiling:.2f} s)",
    )
    drafts = config.speculative_tokens
    accept = (drafts + 1, drafts, max(1, drafts - 1)) if drafts else (1,)
    limits = Limits(config.max_num_seqs, pool, config.max_num_batched_tokens, config.block_size, accept)
    return compiled, limits, {"pool": pool, "seconds": time.monotonic() - started}


def _weights(config: EngineConfig, rank: str) -> int:
    """Bytes of the checkpoint, all of which were read and checked."""
    _load_faults()
    shards = [path.stat().st_size for path in config.folder.glob("*.safetensors")]
    strategy = config.args.safetensors_load_strategy
    total, free = sum(shards) / 2**30, _free_memory() / 2**30
    log.info(
        "weight_utils.py:922",
        f"Filesystem type for checkpoints: 9P. Checkpoint size: {total:.2f} GiB. Available RAM: {free:.2f} GiB.",
        rank,
    )
    started = time.monotonic()
    if strategy == "prefetch":
        threads, block = config.args.safetensors_prefetch_num_threads, config.args.safetensors_prefetch_block_size
        log.info(
            "weight_utils.py:884",
            "Prefetching checkpoint files into page cache started (in background, "
            f"num_threads={threads}, block_size={block} bytes)",
            rank,
        )
    else:
        if strategy is None:
            full = f" and the checkpoint size ({total:.2f} GiB) exceeds 90% of available RAM ({free:.2f} GiB)."
            hint = ". If you want to force prefetching, start vLLM with --safetensors-load-strategy=prefetch."
            log.info(
                "weight_utils.py:945",
                "Auto-prefetch is disabled because the filesystem (9P) is not a recognized network FS (NFS/Lustre)"
                + (hint if total <= 0.9 * free else full),
                rank,
            )
        time.sleep(scaled(_UNPREFETCHED))
    if config.args.load_format == "dummy":
        return sum(shards)
    size = checkpoint.load(config.folder, config.model).bytes
    seconds = time.monotonic() - started
    if strategy == "prefetch":
        log.info(
            "weight_utils.py:879", f"Prefetching checkpoint files into page cache finished in {seconds:.2f}s", rank
        )
    log.plain(
        f"Loading safetensors checkpoint shards: 100% Completed | {len(shards)}/{len(shards)} "
        f"[{int(seconds) // 60:02d}:{int(seconds) % 60:02d}<00:00, {seconds / max(1, len(shards)):.2f}s/it]\n",
        rank,
    )
    log.info("default_loader.py:397", f"Loading weights took {seconds:.2f} seconds", rank)
    if config.speculative_tokens:
        log.info("gpu_model_runner.py:5116", "Loading drafter model...", rank)
    return size


def _pool(config: EngineConfig, available: float, rank: str) -> int:
    """Tokens that the KV cache holds. Raises ValueError where not even one request of full length fits."""
    log.info("gpu_worker.py:480", f"Available KV cache memory: {available:.2f} GiB", rank)
    more = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."
    if available <= 0:
        raise ValueError(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the "
            f"engine (this flag also controls CPU memory reservation on the CPU backend, despite its name). {more}"
        )
    block = config.block_size
    pool = int(available * 2**30 / config.kv_bytes_per_token) // block * block
    if config.max_model_len > pool:
        needed = config.max_model_len * config.kv_bytes_per_token / 2**30
        raise ValueError(
            f"To serve at least one request with the model's max seq len ({config.max_model_len}), ({needed:.2f} GiB "
            "KV cache is needed, which is larger than the available KV cache memory "
            f"({available:.2f} GiB). Based on the available memory, the estimated maximum model length is {pool}. Try "
            "increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
            f"`max_model_len` when initializing the engine. {more}"
        )
    log.info("kv_cache_utils.py:1744", f"GPU KV cache size: {pool:,} tokens")
    log.info(
        "kv_cache_utils.py:1745",
        f"Maximum concurrency for {config.max_model_len:,} tokens per request: {pool / config.max_model_len:.2f}x",
    )
    return pool


def _load_faults() -> None:
    if slow := fault("slow-start"):
        time.sleep(slow.argument)
    if fault("oom-at-load"):
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if fault("scheduler-oom-at-load"):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault("die-at-load"):
        raise RuntimeError("CUDA out of memory. (ordered by STANDIN_FAULT=die-at-load)")


def _free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _described(config: EngineConfig) -> str:
    args, folder = config.args, str(config.folder)
    drafts = f"SpeculativeConfig(method='mtp', model='{folder}', num_spec_tokens={config.speculative_tokens})"
    facts = {
        "model": repr(folder),
        "speculative_config": drafts if config.speculative_tokens else None,
        "tokenizer": repr(folder),
        "revision": args.revision,
        "trust_remote_code": args.trust_remote_code,
        "max_seq_len": config.max_model_len,
        "load_format": args.load_format,
        "tensor_parallel_size": config.tp,
        "pipeline_parallel_size": args.pipeline_parallel_size,
        "quantization": "fp8",
        "enforce_eager": args.enforce_eager,
        "kv_cache_dtype": args.kv_cache_dtype,
        "served_model_name": config.names[0],
        "enable_prefix_caching": args.enable_prefix_caching is not False,
    }
    return ", ".join(f"{name}={value}" for name, value in facts.items())
