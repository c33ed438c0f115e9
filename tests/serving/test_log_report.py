"""Reports of whole logs, and the tags and counts of a running engine's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.log_lines import plain, warns
from serving.log_report import LogReport
from serving.log_triage import main
from serving.log_watch import LogWatch
from tests.serving.conftest import REPO_ROOT

RECORDINGS = REPO_ROOT / "tests" / "recordings" / "sglang-0.5.16"


def report(lines: list[str], **options: Any) -> LogReport:
    made = LogReport(**options)
    made.read_all(lines)
    return made


def test_a_report_puts_the_worst_first_and_says_so_in_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["[health] passed on attempt 3", "nothing special", "[monitor] FATAL: SGLang died (code -9)"]
    text = report(lines).text()
    assert text.startswith("3 lines, 2 known, 0 warnings that no rule knows")
    assert text.index("oom-killer") < text.index("fast-health")
    log = tmp_path / "engine.log"
    log.write_text("\n".join(lines))
    assert main([str(log)]) == 1
    assert "lower the engine's share of GPU memory" in capsys.readouterr().out
    log.write_text(lines[0])
    assert main([str(log)]) == 0
    assert report(["x", "y"]).text() == "2 lines, none that needs explaining"


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--nonsense", "a"], ["--no"], ["--sglang", "--vllm", "a"]])
def test_wrong_usage_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: python -m serving.log_triage" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.log")]) == 2
    assert capsys.readouterr().err.startswith(f"cannot read {tmp_path}/none.log: No such file or directory. Next: ")


def test_a_pipe_from_modal_app_logs_with_prefixes_and_colours() -> None:
    piped = (
        "2026-11-21 11:07:50+01:00 fu-abcDEF123 ta-01ABC \x1b[31m[monitor] FATAL: SGLang died (code 137)\x1b[0m\n"
        "2026-11-21 11:07:50+01:00 fu-abcDEF123 ta-01ABC [2026-11-21 10:00:00 TP3] The moon is missing\n"
        "ta-01ABC \x1b[36m(EngineCore pid=7)\x1b[0m \x1b[33mWARNING\x1b[0m 11-21 10:00:00 [x.py:3] Odd: 17 of 18\n"
    )
    command = [sys.executable, "-m", "serving.log_triage", "-"]
    done = subprocess.run(command, check=False, input=piped, capture_output=True, text=True, timeout=60, cwd=REPO_ROOT)
    assert done.returncode == 1, done.stderr
    assert "FATAL   platform-kill (1x, first in line 1)\n        [monitor] FATAL" in done.stdout
    assert "UNKNOWN warning (1x, first in line 2)\n        [2026-11-21 10:00:00 TP3] The moon is missing" in done.stdout
    assert "UNKNOWN warning (1x, first in line 3)\n        (EngineCore pid=7) WARNING" in done.stdout


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[2026-11-21 11:07:50 TP0] Could not load the frobnicator", "warning"),
        ("[2026-11-21 11:07:50] Error while frobnicating", "error"),
        ("Capturing batches (bs=4):  0%| | 0/2 [00:00<?, ?it/s][2026-11-21 11:07:50] Frobnication failed", "warning"),
        ("[2026-11-21 11:07:50] Decode batch, #running-req: 48, #missing: 1", None),
        ("[2026-11-21 11:07:50] INFO:     Waiting for application startup.", None),
        ("[2026-11-21 11:07:50] Load weight begin. avail mem=139.07 GB", None),
        ("WARNING:  Invalid HTTP request received.", "warning"),
        ("ERROR:    Exception in ASGI application", "error"),
        ("(EngineCore_0 pid=9) WARNING 11-21 10:00:00 [cuda.py:3] something", "warning"),
        ("(APIServer pid=1) INFO 11-21 10:00:00 [api_server.py:3] cannot fail: no error, no warning", None),
        ("[rank0]:[W1121 11:07:57.447735504 Group.cpp:1575] something", "warning"),
        ("[rank3]:[E1121 11:07:57.447735504 Group.cpp:1575] something", "error"),
        ("/usr/lib/x.py:731: UserWarning: something", "warning"),
        ("frob.FrobError: no frob", "error"),
        ("    raise ValueError('x')", None),
        ("the engine says hello", None),
    ],
)
def test_what_counts_as_a_warning(line: str, level: str | None) -> None:
    assert warns(plain(line)) == level


def test_unknown_warnings_are_listed_once_for_each_kind() -> None:
    lines = [f"[2026-11-21 11:07:{second:02d}] Frob {second} failed" for second in range(30)]
    made = report([*lines, "[2026-11-21 11:09:00] Grob is not supported"])
    assert made.unknown == [lines[0], "[2026-11-21 11:09:00] Grob is not supported"]
    assert "UNKNOWN warning (30x, first in line 1)" in made.text()
    assert not made.alarming
    assert report(["frob.FrobError: no frob"]).alarming


def test_a_running_engines_lines_are_tagged_once_and_counted() -> None:
    said: list[str] = []
    watch = LogWatch("sglang", said.append)
    for second in range(3):
        watch.read(f"[2026-11-21 11:07:{second:02d}] KV cache pool is full. Retract requests. #retracted_reqs: 1")
        watch.read(f"[2026-11-21 11:07:{second:02d}] Frobnication failed")
    watch.count("[monitor] FATAL: SGLang died (code -9)")
    assert len(said) == 1
    assert said[0].startswith("[triage] monitor pool-full: running requests outgrew the KV pool")
    assert ". Next: lower max-running-requests" in said[0]
    assert watch.counts() == {("pool-full", "monitor"): 3, ("unknown", "warning"): 3, ("oom-killer", "fatal"): 1}
    assert watch.unknown() == 3
    assert report(said).text() == "1 lines, none that needs explaining", "a tag is no finding"
    assert watch.refusal is None
    watch.read("KV cache dtype set to fp8_e4m3")
    assert said[-1].startswith("[triage] error fp8-kv-cache: ")
    assert watch.refusal is None
    refusing = LogWatch("sglang", said.append, {"fp8-kv-cache"})
    refusing.read("KV cache dtype set to fp8_e4m3")
    assert refusing.refusal is not None
    assert "kv-cache-dtype to bfloat16" in refusing.refusal


@pytest.mark.parametrize("name", ["warnings", "start", "sigterm", "compile", "scheduler-killed", "first-request-fails"])
def test_no_warning_of_the_real_engine_is_unknown(name: str) -> None:
    lines = (RECORDINGS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert report(lines, engine="sglang").unknown == []
