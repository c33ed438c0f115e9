from __future__ import annotations

from pathlib import Path

import pytest

from serving.log_triage import cause_of_failure, classify, last_words, main, report
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
        "SIGTERM received. signum=None frame=None. Draining requests and shutting down...",
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


def test_a_report_puts_the_worst_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["[health] passed on attempt 3", "nothing special", "[monitor] FATAL: SGLang died (code -9)"]
    text = report(lines)
    assert text.index("oom-killer") < text.index("fast-health")
    log = tmp_path / "engine.log"
    log.write_text("\n".join(lines))
    assert main([str(log)]) == 0
    assert "lower mem-fraction-static" in capsys.readouterr().out
    assert main([str(tmp_path / "none")]) == 1
    assert main([]) == 2
    assert report(["x", "y"]) == "2 lines, none that needs explaining"


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
