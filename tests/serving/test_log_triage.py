from __future__ import annotations

import pytest

from serving.log_rules import SHARED
from serving.log_rules_sglang import SGLANG
from serving.log_rules_vllm import VLLM
from serving.log_triage import cause_of_failure, classify, last_words
from tests.serving.conftest import REPO_ROOT

# The reference deployment's table of known compile noise: (line, severity while compiling, severity while serving).
KNOWN_NOISE = [
    ("FastAPIDeprecationWarning: ORJSONResponse is deprecated", "info", "info"),
    ("The following generation flags are not valid and may be ignored: ['top_p']", "info", "info"),
    ("Unexpected error during package walk: cutlass.cute.experimental", "info", "info"),
    ("flashinfer.jit: torch.Tensor return type is deprecated, use ...", "monitor", "monitor"),
    ("resource_tracker: There appear to be 8 leaked semaphore objects to clean up at shutdown", "info", "info"),
    ("[Gloo] Rank 0 is connected to 0 peer ranks. Expected number of connected peer ranks is : 0", "info", "info"),
    ("DeepGemm is enabled but the scale_fmt of checkpoint is not ue8m0. This might cause", "monitor", "monitor"),
    ("Setting KV cache dtype to fp8_e4m3 for DeepSeek DSA on SM10 device.", "info", "error"),
    ("KV cache dtype set to fp8_e4m3", "info", "error"),
    ("Using FP8 KV cache but no scaling factors provided. Defaulting to scaling factors of 1.0.", "info", "error"),
    ("Force NSA prefill to use sparse MLA (i.e. disable MHA_ONE_SHOT) when kv_cache_dtype is", "info", "info"),
]


@pytest.mark.parametrize(("line", "compiling", "serving"), KNOWN_NOISE)
def test_known_noise(line: str, compiling: str, serving: str) -> None:
    while_compiling, while_serving = classify(line, compiling=True), classify(line)
    assert while_compiling is not None
    assert while_compiling.severity == compiling
    assert while_serving is not None
    assert while_serving.severity == serving


@pytest.mark.parametrize(
    ("line", "rule", "severity"),
    [
        ("[health] passed on attempt 1", "fast-health", "info"),
        ("[health] passed on attempt 14", "fast-health", "info"),
        ("[health] passed on attempt 15", "slow-health", "monitor"),
        ("[health] passed on attempt 120", "slow-health", "monitor"),
        ("[monitor] FATAL: SGLang died (code -9)", "oom-killer", "fatal"),
        ("[monitor] FATAL: SGLang died (code 137)", "platform-kill", "fatal"),
        ("[monitor] FATAL: SGLang died (code 1)", "died", "fatal"),
        ("DeepGEMM Kernels compilation finished successfully.", "kernels-compiled", "info"),
    ],
)
def test_the_references_triage_rows(line: str, rule: str, severity: str) -> None:
    finding = classify(line)
    assert finding is not None
    assert (finding.rule, finding.severity) == (rule, severity)
    assert finding.action


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-21 11:07:50] Decode batch, #running-req: 48, #token: 3136, token usage: 0.05",
        "Setting KV cache dtype to bfloat16 for DeepSeek DSA on SM9 device.",
        "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 65536, KV size: 0.16 GB",
        "The server is fired up and ready to roll!",
    ],
)
def test_healthy_lines_need_no_explanation(line: str) -> None:
    assert classify(line) is None


def test_the_cause_is_the_exception_and_not_the_noise_around_it() -> None:
    lines = [
        "[2026-11-21 10:35:34] Scheduler hit an exception: Traceback (most recent call last):",
        '  File "SITE-PACKAGES/sgl_kernel/flash_attn.py", line 8, in <module>',
        "    from sgl_kernel import flash_ops",
        "ImportError: cannot import name 'flash_ops' from 'sgl_kernel'",
        "",
        "During handling of the above exception, another exception occurred:",
        "ImportError: Can not import FA3 in sgl_kernel. Please check your installation.",
        "[2026-11-21 10:35:34] SIGQUIT received. signum=None, frame=None. It usually means one child failed.",
        "[2026-11-21 10:35:39] kill_process_tree called: parent_pid=1404, include_parent=True, pid=1404",
    ]
    assert cause_of_failure(lines) == "ImportError: Can not import FA3 in sgl_kernel. Please check your installation."


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["usage: x", "launch_server.py: error: unrecognized arguments: --tpp 8"], "unrecognized arguments: --tpp 8"),
        (["Subprocess scheduler_0 (pid=3443) crashed with exit code -9."], "scheduler_0"),
        (["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"], "CUDA out of memory"),
        (
            [
                "Traceback (most recent call last):",
                '  File "x.py", line 1',
                "    f()",
                "standin.Corrupt: shard 2 is bad",
                "end",
            ],
            "standin.Corrupt: shard 2 is bad",
        ),
        (["all is well"], None),
    ],
)
def test_causes(lines: list[str], cause: str | None) -> None:
    found = cause_of_failure(lines)
    if cause is None:
        assert found is None
    else:
        assert found is not None
        assert cause in found


def test_without_a_known_cause_the_last_line_is_told() -> None:
    assert (
        last_words(["starting", "no flag catalogue for sglang 9", ""])
        == "; its last line: no flag catalogue for sglang 9"
    )
    assert last_words(["x", "ValueError: bad"]) == ": ValueError: bad"
    assert last_words([]) == "; it said nothing"


VLLM_LINES = [
    (
        "ImportError: cannot import name 'Sentinel' from 'typing_extensions' (/usr/local/lib/python3.12/…)",
        "typing-extensions-shadowed",
        "fatal",
    ),
    (
        "(EngineCore pid=7) INFO 11-21 10:00:00 [weight_utils.py:946] Auto-prefetch is disabled because the filesystem "
        "(9P) is not a recognized network FS (NFS/Lustre). If you want to force prefetching, start vLLM with "
        "--safetensors-load-strategy=prefetch.",
        "sequential-load",
        "monitor",
    ),
    (
        "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored "
        "in KV cache (56736). Try increasing `gpu_memory_utilization`",
        "kv-cache-too-small",
        "fatal",
    ),
    (
        "ValueError: To serve at least one request with the model's max seq len (131072), (10.12 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (5.59 GiB).",
        "kv-cache-too-small",
        "fatal",
    ),
    ("ERROR 11-21 10:00:00 [core.py:1195] EngineCore failed to start.", "engine-core-failed", "fatal"),
    ("ERROR 11-21 10:00:00 [core.py:1197] EngineCore encountered a fatal error.", "engine-core-died", "fatal"),
    ("ERROR 11-21 10:00:00 [e.py:285] Worker proc VllmWorker-3 died unexpectedly, shutting", "worker-died", "fatal"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "gpu-oom", "fatal"),
    ("vllm serve: error: unrecognized arguments: --tensor-paralel-size 8", "unknown-flag", "fatal"),
    ("OSError: [Errno 98] Address already in use", "port-taken", "fatal"),
    ("WARNING 11-21 10:00:00 [vllm.py:1056] Enforce eager set, disabling torch.compile and", "eager", "info"),
    ("INFO 11-21 10:00:00 [loggers.py:259] Engine 000: …, Preemptions: 3, GPU KV cache", "preempted", "monitor"),
    (
        "WARNING 11-21 10:00:00 [jit_monitor.py:103] Triton kernel JIT compilation during inference: _prefill. This",
        "jit-during-inference",
        "monitor",
    ),
    (
        "ERROR 11-22 04:24:08 [s.py:213] Error with model {'error': {'message': 'The model `glm-4` does not exist.'",
        "model-not-served",
        "info",
    ),
    ("Using DeepSeek's fp8_ds_mla KV cache format. To use standard fp8 kv-cache format", "fp8-kv-cache", "info"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "rule", "severity"), VLLM_LINES)
def test_what_vllm_says(line: str, rule: str, severity: str) -> None:
    finding = classify(line, engine="vllm")
    assert finding is not None
    assert (finding.rule, finding.severity) == (rule, severity)
    assert finding.action


def test_one_engines_rules_do_not_judge_the_others_lines() -> None:
    line = "Setting KV cache dtype to fp8_e4m3 for DeepSeek DSA on SM10 device."
    assert classify(line, engine="vllm") is None
    found = classify(line, engine="sglang")
    assert found is not None
    assert found.rule == "fp8-kv-cache"
    # FP8 KV with MTP is what the GLM-5.2 recipe asks for: vLLM's own line about it is no alarm.
    about = classify(VLLM_LINES[-1][0], engine="vllm")
    assert about is not None
    assert about.severity == "info"


def test_rules_have_one_name_each_and_something_to_do() -> None:
    for rules in (SGLANG, VLLM, SHARED):
        names = [rule.name for rule in rules]
        assert len(set(names)) == len(names)
        assert all(rule.action != "none" for rule in rules if rule.severity in ("fatal", "error"))


def test_vllms_cause_is_the_exception_in_its_own_process() -> None:
    prefix = "(EngineCore pid=7) ERROR 11-21 10:00:00 [core.py:1195] "
    lines = [
        f"{prefix}EngineCore failed to start.",
        f"{prefix}Traceback (most recent call last):",
        f'{prefix}  File "core.py", line 1',
        f"{prefix}    self._initialize_kv_caches()",
        f"{prefix}ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "Traceback (most recent call last):",
        '  File "/usr/local/bin/vllm", line 10, in <module>',
        "    sys.exit(main())",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ]
    cause = cause_of_failure(lines)
    assert cause == "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"


RECORDINGS = REPO_ROOT / "tests" / "recordings" / "sglang-0.5.16"


def test_the_real_engines_crash_is_recognised_even_without_its_traceback() -> None:
    lines = (RECORDINGS / "first-request-fails.txt").read_text(encoding="utf-8").splitlines()
    found = {finding.rule for line in lines if (finding := classify(line)) and finding.severity == "fatal"}
    assert found == {"scheduler-exception", "child-failed"}
    assert cause_of_failure(lines) is None


@pytest.mark.parametrize("name", ["start", "sigterm", "compile"])
def test_the_real_engines_healthy_runs_raise_no_alarm(name: str) -> None:
    lines = (RECORDINGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    findings = [classify(line, compiling=name == "compile") for line in lines]
    assert [finding for finding in findings if finding and finding.severity in ("error", "fatal")] == []
    assert cause_of_failure(lines) is None
