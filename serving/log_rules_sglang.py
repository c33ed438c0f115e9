"""SGLang's known log lines. The ten rows of the reference deployment's table of compile noise carry their number."""

from __future__ import annotations

from serving.log_rules import Rule, rule

_FP8_KV_ACTION = "set the flag kv-cache-dtype to bfloat16 in the recipe, then pulumi up"

SGLANG: tuple[Rule, ...] = (
    # It lists every setting, words such as error and warning among them, and is not about any.
    rule("settings", r"server_args=ServerArgs\(", "info", "the server's settings, the key taken out"),
    rule(
        "scheduler-exception",
        r"\b\w+ hit an exception: ",
        "fatal",
        "a worker process of the engine raised",
        "read the traceback that follows; its last line names the cause",
    ),
    rule(
        "child-crashed",
        r"Subprocess \S+ \(pid=\d+\) crashed with exit code",
        "fatal",
        "a worker process of the engine died",
        "exit code -9: GPU host out of memory, lower mem-fraction-static; otherwise read the lines above",
    ),
    rule(
        "child-failed",
        r"It usually means (?:one|the) child failed",
        "fatal",
        "a worker process failed; the engine ends itself",
        "read the traceback above",
    ),
    rule(
        "kernel-library",
        r"ImportError: .*sgl_kernel",
        "fatal",
        "the image's kernel library was not built for this GPU or CUDA version",
        "choose the engine.image tag built for this GPU, or an attention backend that it has",
    ),
    rule(
        "own-warm-up-failed",
        r"Initialization failed\. warmup error",
        "fatal",
        "the server's own first request failed; it ends itself",
        "read the traceback that follows; a missing kernel library or a wrong backend are usual",
    ),
    rule(
        "watchdog",
        r"Watchdog timeout|watchdog.*timed out",
        "fatal",
        "one forward batch took longer than watchdog-timeout",
        "look for a stuck collective or a JIT compilation above; raise watchdog-timeout only if it was slow, not stuck",
    ),
    rule(
        "pool-exhausted",
        r"(?:Prefill|Decode|alloc_req_slots runs) out of memory",
        "fatal",
        "the KV pool has no room for what was scheduled",
        "lower max-running-requests, or raise max-total-tokens where the memory fit leaves room",
    ),
    # 8 and 9 stop a start where EAGLE on Blackwell would crash (`stopping_rules` in serving/engines/sglang.py).
    rule(
        "fp8-kv-cache",
        r"Setting KV cache dtype to fp8|KV cache dtype (?:is )?set to fp8|KV Cache is allocated\. dtype: torch\.float8",
        "error",
        "the KV cache is FP8: with EAGLE on SM100 a known crash (SGLang #22359)",
        _FP8_KV_ACTION,
        while_compiling="info",
    ),
    rule(
        "fp8-kv-unscaled",
        r"FP8 KV cache.*no scaling factors|no scaling factors.*(?:FP8|KV).*default",
        "error",
        "FP8 KV cache without scaling factors: answers lose accuracy",
        _FP8_KV_ACTION,
        while_compiling="info",
    ),
    rule(
        "health-check-failed",
        r"Health check failed\. Server couldn't get a response",
        "error",
        "the scheduler answered no health request for its time-out",
        "the monitor ends the container if requests are stuck; otherwise read the scheduler's lines",
    ),
    rule(
        "responses-endpoint",
        r"Can not initialize OpenAIServingResponses",
        "monitor",
        "/v1/responses is not served; the other endpoints are",
        "none unless clients use /v1/responses",
    ),
    rule(
        "pool-full",
        r"KV cache pool is full\. Retract requests",
        "monitor",
        "running requests outgrew the KV pool; some start over, clients see a pause",
        "lower max-running-requests, or raise max-total-tokens where the memory fit leaves room",
    ),
    # 7
    rule(
        "not-ue8m0",
        r"scale_fmt of checkpoint is not ue8m0",
        "monitor",
        "DeepGEMM runs with another scale format than Blackwell's own; typical of E4M3 checkpoints",
        "watch the output quality",
    ),
    # 4
    rule(
        "torch-tensor-return",
        r"torch\.Tensor.*return type.*deprecated|return type.*torch\.Tensor.*deprecated",
        "monitor",
        "flashinfer.jit uses a deprecated return type",
        "none today; goes away when SGLang moves to a newer FlashInfer",
    ),
    rule(
        "default-moe-config",
        r"Using default MoE kernel config",
        "monitor",
        "no tuned Triton configuration for these experts on this GPU",
        "for more throughput tune one with SGLang's tuning script, or choose another moe-runner-backend",
    ),
    rule(
        "other-moe-config",
        r"config file not found at .*(?:Fallback to triton version|reusing the tuned)",
        "monitor",
        "these experts' kernels take what was tuned for another Triton release or another projection",
        "for more throughput tune one with SGLang's tuning script",
    ),
    rule(
        "precompile-pass",
        r"Entering DeepGEMM JIT Pre-Compile session|DeepGEMM JIT Compiling for",
        "info",
        "the pass over all sizes of a GEMM shape: 4 to 28 s a shape with the kernels on disk",
        "none while compiling; while serving it means that the kernels were not proven complete",
    ),
    rule(
        "precompile-memory",
        r"Available memory \S+ is less than required memory",
        "monitor",
        "the pass over a GEMM shape was cut short for want of GPU memory",
        "lower mem-fraction-static while compiling",
    ),
    rule(
        "compile-patience",
        r"It may take a long time and timeout maybe raised",
        "info",
        "the compile tool's own note; how long it may take is in the recipe (kernels.timeout)",
    ),
    # "DeepGEMM / compile success"
    rule(
        "kernels-compiled",
        r"DeepGEMM Kernels compilation finished successfully",
        "info",
        "the kernels are cached for later cold starts",
        "none; the marker file confirms it",
    ),
    # 1
    rule("orjson", r"ORJSONResponse.*deprecat", "info", "FastAPI deprecation inside SGLang"),
    # 2
    rule(
        "generation-flags",
        r"generation flags are not valid|generation flags.*(?:ignored|invalid)",
        "info",
        "generation defaults such as top_p reported during the compile warm-up",
    ),
    # 3
    rule(
        "package-walk",
        r"Unexpected error during package walk: cutlass\.cute\.experimental",
        "info",
        "FlashInfer's autotuner looks for an optional package; autotuning still completes",
    ),
    # 10
    rule(
        "sparse-mla",
        r"Force NSA prefill to .*sparse MLA|MHA_ONE_SHOT.*disabled",
        "info",
        "the TRT-LLM sparse MLA path, expected for GLM-5 on Blackwell",
    ),
    rule("launch-module", r"'python -m sglang\.launch_server' is still supported", "info", "a newer command exists"),
    rule("open-files", r"Fail to set RLIMIT_NOFILE", "info", "the container's limit of open files stays as it is"),
    rule(
        "tokenizer-class",
        r"Tokenizer for .* is still TokenizersBackend after retries",
        "info",
        "the generic tokenizer is used; the model's chat template is read all the same",
    ),
    rule(
        "tokenizer-regex",
        r"tokenizer you are loading .* with an incorrect regex pattern",
        "monitor",
        "the model's config.json names no transformers_version, so transformers suspects Mistral's tokenizer fault",
        "none for other models than Mistral's; a repository that names its version does not show it",
    ),
    rule("optional-model", r"Ignore import error when loading sglang\.srt\.models", "info", "another model's package"),
    rule(
        "prefill-graph",
        r"Disable prefill CUDA graph because|Breakable CUDA graph is incompatible",
        "info",
        "prompts are prefilled without CUDA graphs, as usual for MLA; decoding uses them",
    ),
    rule(
        "moe-finalize",
        r"deferred finalize is disabled|Shared experts fusion optimization is disabled",
        "info",
        "an optimisation that does not apply to this model and backend",
    ),
    rule(
        "no-multicast",
        r"multimem all-gather disabled \(no multicast",
        "info",
        "NVLink multicast is off or not offered: ranks exchange logits through NCCL",
    ),
    rule("rerank-tokens", r"Using fallback token IDs for yes/no", "info", "concerns the rerank endpoint alone"),
    rule("graphs-off", r"Disable CUDA Graph and Torch Compile to save time", "info", "the compile tool's server only"),
    rule(
        "shutting-down",
        r"SIGTERM received\. .*Draining|Gracefully exiting\.\.\.|kill_process_tree called|No live scheduler processes"
        r"|before crash diagnostics",
        "info",
        "the engine ends its own processes, on SIGTERM or after a worker failed",
        "none after a stop; otherwise read the lines above",
    ),
)
