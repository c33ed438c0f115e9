"""What is seen of a running engine: its output, its metrics, its exit status."""

from __future__ import annotations

import pytest

from serving.engines import sglang, vllm
from serving.engines.unanswered import UNANSWERED_METRIC
from serving.exit_status import CLEAN_AFTER_SIGTERM, explain
from serving.kernel_log import KernelLog
from serving.log_pump import LogPump
from serving.monitor import HangDetector, read_metrics
from serving.progress import TransferRate, size_text, transfer_line
from serving.redaction import Redactor

METRICS = """\
# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="glm-5.1",tp_rank="0"} 2.0
sglang:num_running_reqs{engine_type="unified",model_name="glm 5 } 1",tp_rank="1"} 1.0
sglang:fwd_occupancy{engine_type="unified"} NaN
sglang:generation_tokens_total{model_name="glm-5.1"} 1.1433e+04
sglang:routing_keys_active 0.0
"""


def test_metrics_are_summed_over_labels() -> None:
    metrics = read_metrics(METRICS)
    assert metrics == {
        "sglang:num_running_reqs": 3.0,
        "sglang:generation_tokens_total": 11433.0,
        "sglang:routing_keys_active": 0.0,
    }
    assert sglang.busy(metrics) == 3.0


def sample(running: float, tokens: float, queued: float = 0) -> dict[str, float]:
    return {
        "sglang:num_running_reqs": running,
        "sglang:num_queue_reqs": queued,
        "sglang:generation_tokens_total": tokens,
    }


def test_a_hang_is_running_requests_without_progress() -> None:
    detector = HangDetector(sglang)
    assert detector.stuck_for(0, sample(1, 10)) == 0
    assert detector.stuck_for(10, sample(1, 10)) == 0  # the first look without progress starts the clock
    assert detector.stuck_for(20, sample(1, 10)) == 10
    assert detector.stuck_for(30, sample(1, 11)) == 0
    assert detector.stuck_for(40, sample(1, 11)) == 0
    assert detector.stuck_for(50, sample(0, 11)) == 0  # idle
    assert detector.stuck_for(500, sample(0, 11)) == 0
    assert detector.stuck_for(510, sample(0, 11, queued=1)) == 0
    assert detector.stuck_for(530, sample(0, 11, queued=1)) == 20


def test_vllms_hang_is_seen_in_vllms_metrics() -> None:
    text = """\
vllm:num_requests_running{engine="0",model_name="glm-5.2-fp8"} 2.0
vllm:num_requests_waiting{engine="0",model_name="glm-5.2-fp8"} 1.0
vllm:generation_tokens_total{engine="0",model_name="glm-5.2-fp8"} TOKENS
vllm:kv_cache_usage_perc{engine="0",model_name="glm-5.2-fp8"} 0.25
"""

    def at(tokens: int, running: int = 2) -> dict[str, float]:
        return read_metrics(text.replace("TOKENS", str(tokens))) | {"vllm:num_requests_running": float(running)}

    assert vllm.busy(at(0)) == 3
    detector = HangDetector(vllm)
    assert [detector.stuck_for(now, at(7)) for now in (0, 10, 20, 30)] == [0, 0, 10, 20]
    assert detector.stuck_for(40, at(8)) == 0
    idle = at(8, running=0) | {"vllm:num_requests_waiting": 0.0}
    assert [detector.stuck_for(now, idle) for now in (50, 500)] == [0, 0]


def test_long_answers_are_progress_although_totals_move_only_at_their_end() -> None:
    detector = HangDetector(sglang)
    for second in range(0, 1000, 10):
        sampled = sample(1, 10) | {"sglang:inter_token_latency_seconds_count": float(second)}
        assert detector.stuck_for(second, sampled) == 0


def test_an_engine_that_took_a_request_and_says_it_is_idle_hangs() -> None:
    detector = HangDetector(sglang)
    waiting = sample(0, 10) | {UNANSWERED_METRIC: 1.0}
    assert detector.stuck_for(0, waiting) == 0
    assert detector.stuck_for(10, waiting) == 0
    assert detector.stuck_for(20, waiting) == 10
    assert detector.stuck_for(30, sample(0, 10) | {UNANSWERED_METRIC: 0.0}) == 0  # answered: it was idle


def test_silence_of_the_metrics_endpoint_counts_as_being_stuck() -> None:
    detector = HangDetector(sglang)
    assert detector.stuck_for(0, sample(0, 1)) == 0
    assert detector.stuck_for(10, None) == 0
    assert detector.stuck_for(25, None) == 15
    assert detector.stuck_for(30, sample(0, 1)) == 0


@pytest.mark.parametrize(
    ("code", "lines", "words"),
    [
        (-9, [], "OOM killer"),
        (137, [], "platform"),
        (-9, ["kill_process_tree called: parent_pid=1, include_parent=True"], "ended its own process tree"),
        (137, ["SIGQUIT received. It usually means one child failed."], "ended its own process tree"),
        (-9, ["Subprocess scheduler_0 (pid=3443) crashed with exit code -9. Triggering"], "scheduler_0.*OOM killer"),
        (
            -9,
            ["Subprocess scheduler_3 (pid=3443) crashed with exit code 1. Triggering"],
            "scheduler_3 died with code 1",
        ),
        (-11, [], "SIGSEGV"),
        (143, [], "SIGTERM"),
        (2, [], "refused its arguments"),
        (1, [], "failed"),
        (0, [], "by itself"),
    ],
)
def test_exit_codes_are_told_apart(code: int, lines: list[str], words: str) -> None:
    import re

    assert re.search(words, explain(code, lines))


def test_what_counts_as_a_clean_stop() -> None:
    assert {0, -15, 143, -9, 137} == CLEAN_AFTER_SIGTERM


def test_output_is_redacted_thinned_and_kept() -> None:
    out: list[str] = []
    watched: list[str] = []
    pump = LogPump(Redactor(["s3cret-key"]), out.append, watched.append)
    bars = [f"Capturing batches (bs={48 - i} avail_mem=96.53 GB): {i}%|█  | {i}/100 [00:01<00:01]" for i in range(101)]
    pump.run(["using s3cret-key\n", "\n", *(bar + "\n" for bar in bars), "done\r\n"])
    assert out == ["using ***", bars[0], bars[100], "done"]
    assert len(watched) == 103
    assert list(pump.last_lines) == out


def test_shapes_are_followed_through_the_kernel_log() -> None:
    log = KernelLog()
    first = "Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=2624, K=6144, num_groups=1 with all Ms."
    second = "Try DeepGEMM JIT Compiling for <GEMM_NT_F8F8BF16> N=28672, K=512, num_groups=1 with all Ms. It only"
    for line in (first, "DeepGEMM warmup:   0%|          | 0/16384", "DeepGEMM warmup:  99%|█████████▉| 16337/16384"):
        log.read(line)
    assert log.percent == 99
    assert log.unfinished == ["GEMM_NT_F8F8BF16 N=2624, K=6144, num_groups=1"]
    log.read("DeepGEMM warmup: 100%|██████████| 16384/16384 [00:57<00:00, 287.37it/s]")
    assert not log.unfinished
    log.read(second)
    assert log.shapes[1].endswith("N=28672, K=512, num_groups=1")
    assert not log.unfinished  # announced, no bar: nothing to hold against it
    assert not log.succeeded
    log.read("DeepGEMM Kernels compilation finished successfully.")
    assert log.succeeded


def test_sizes_and_progress_lines() -> None:
    assert size_text(704e9) == "704 GB"
    assert size_text(1.2e9) == "1.2 GB"
    assert size_text(16e6, 704e9) == "0.0 GB"
    assert size_text(0, 5e6, unit=False) == "0"
    line = transfer_line("weights", 41, 142, 203_000_000_000, 704_000_000_000, 1.2e9)
    assert line == "weights: 41/142 files · 203/704 GB · 1.2 GB/s · 7 min left"
    assert transfer_line("weights", 0, 5, 0, 64_000_000, 0) == "weights: 0/5 files · 0/64 MB"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    now = [0.0]
    rate = TransferRate(clock=lambda: now[0], window=30)
    assert rate.add(0) == 0
    now[0] = 10
    assert rate.add(1000) == 100
    for second in range(20, 200, 10):
        now[0] = second
        latest = rate.add(1000 + (second - 10) * 10)
    assert latest == pytest.approx(10)
