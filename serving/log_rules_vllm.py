"""vLLM's known log lines (0.23.0's sources, and what the GLM-5.2 deployment ran into)."""

from __future__ import annotations

from serving.log_rules import Rule, rule

VLLM: tuple[Rule, ...] = (
    rule("settings", r"non-default args: |Initializing a V1 LLM engine", "info", "the server's settings"),
    rule(
        "typing-extensions-shadowed",
        r"cannot import name '\w+' from 'typing_extensions'",
        "fatal",
        "the image's single-file typing_extensions.py hides the newer package",
        "engine.setupCommands of the recipe must remove typing_extensions.py from dist-packages",
    ),
    rule(
        "kv-cache-too-small",
        r"larger than the maximum number of tokens that can be stored in KV cache"
        r"|larger than the available KV cache memory|No available memory for the cache blocks",
        "fatal",
        "one request of max-model-len tokens does not fit into the memory that is left for the KV cache",
        "lower max-model-len, or raise gpu-memory-utilization, in the recipe",
    ),
    rule(
        "context-beyond-model",
        r"max_model_len \(\d+\) is greater\b",
        "fatal",
        "max-model-len is more than the model supports",
        "lower max-model-len in the recipe",
    ),
    rule(
        "too-little-free-memory",
        r"Free memory on device .* is less than desired GPU memory utilization",
        "fatal",
        "something else holds GPU memory, or gpu-memory-utilization asks for too much",
        "lower gpu-memory-utilization in the recipe",
    ),
    rule(
        "engine-core-failed",
        r"EngineCore failed to start|Engine core initialization failed|WorkerProc initialization failed",
        "fatal",
        "the engine's own process did not come up",
        "read the traceback above; its last line names the cause",
    ),
    rule(
        "engine-core-died",
        r"EngineCore encountered (?:a fatal error|an issue)|EngineDeadError|engine core exited unexpectedly",
        "fatal",
        "the engine's own process died; every request fails from here on",
        "read the traceback above; the container is replaced",
    ),
    rule(
        "worker-died",
        r"Worker proc \S+ died unexpectedly|WorkerProc hit an exception|process \S+ died unexpectedly",
        "fatal",
        "the process of one GPU died",
        "read the lines above: GPU memory, NCCL, or a kernel this GPU does not support",
    ),
    rule(
        "not-on-the-volume",
        r"LocalEntryNotFoundError|outgoing traffic has been disabled|Cannot find the requested files in the",
        "fatal",
        "a file of the model is not in the Hub cache on the volume, and the Hub is not asked while serving",
        "pulumi refresh && pulumi up",
    ),
    rule(
        "sequential-load",
        r"Auto-prefetch is disabled because|Skipping auto-prefetch",
        "monitor",
        "weights are read one after the other: about 12 minutes instead of 1 from a Modal volume",
        "set the flag safetensors-load-strategy to prefetch in the recipe",
    ),
    rule(
        "default-moe-config",
        r"Using default MoE config",
        "monitor",
        "no tuned Triton configuration for these experts on this GPU",
        "none needed; tune one for more throughput",
    ),
    rule(
        "preempted",
        r"is preempted by .* mode because there is not enough KV cache space|Preemptions: [1-9]",
        "monitor",
        "running requests outgrew the KV cache; some start over, clients see a pause",
        "lower max-num-seqs, or raise gpu-memory-utilization",
    ),
    rule(
        "fp8-kv-cache",
        r"fp8 data type to store kv ?cache|fp8_ds_mla KV cache format",
        "info",
        "FP8 KV cache, with MTP, as the recipe asks; the crash of SGLang #22359 is not vLLM's",
    ),
    rule(
        "kv-unscaled",
        r"Using KV cache scaling factor 1\.0|does not provide a q scaling factor|Using uncalibrated q_scale",
        "monitor",
        "the checkpoint has no scales for an FP8 KV cache: 1.0 is used",
        "watch the output quality",
    ),
    rule(
        "eager",
        r"Enforce eager set|Skipping CUDA graph capture|Cudagraph is disabled under eager mode",
        "info",
        "no CUDA graphs and no torch.compile: 4.5 min to ready instead of more than 20, ~35 s for the first answer",
    ),
    rule(
        "generation-defaults",
        r"Default .*sampling parameters have been overridden by the model's",
        "info",
        "defaults such as temperature come from the checkpoint's generation_config.json",
    ),
    rule(
        "speculation",
        r"min_p and logit_bias parameters won't work with speculative decoding",
        "monitor",
        "requests with min_p or logit_bias are not honoured while drafts are used",
        "tell clients, or leave out speculative-config",
    ),
    rule(
        "jit-during-inference",
        r"Triton kernel (?:JIT compilation|autotuning) during inference|JIT compilation during inference",
        "monitor",
        "a kernel was compiled for a request of a new size: up to ~35 s before its first token",
        "none at the first start, the volume keeps it; if it comes at every start, check TRITON_CACHE_DIR",
    ),
    rule(
        "one-mtp-layer",
        r"num_speculative_tokens > 1 will run multiple times of forward on same MTP layer",
        "info",
        "five tokens are drafted by one MTP layer, as the recipe asks",
    ),
    rule(
        "model-not-served",
        r"Error with model .*does not exist",
        "info",
        "a client asked for a model of another name and got a 404",
    ),
    rule("duplicate-keys", r"Found duplicate keys", "monitor", "a flag is given twice", "take one out of engine.flags"),
    rule("torch-threads", r"Reducing Torch parallelism", "info", "one thread per worker process"),
    rule("shutting-down", r"\[shutdown\] |Shutting down|WorkerProc was terminated", "info", "the engine ends"),
)
