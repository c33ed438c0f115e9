"""The benchmark of the serving container runs, measures both sides and fails where a ratio is too low."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def run(minimum: str) -> subprocess.CompletedProcess[str]:
    options = ["--rounds", "4", "--tokens", "16", "--streams", "1", "2", "--minimum", minimum]
    command = [sys.executable, "-m", "benchmarks.serving", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def assert_table(printed: str) -> None:
    rows = re.findall(r"^ +([12])  (time to first token, ms|tokens/s of a stream) +(\S+) +(\S+) +(\S+)$", printed, re.M)
    assert [(row[0], row[1][:4]) for row in rows] == [("1", "time"), ("1", "toke"), ("2", "time"), ("2", "toke")]
    assert all(float(value) > 0 for row in rows for value in row[2:])
    memory = re.search(r"^supervisor: (\S+) MiB resident when ready, (\S+) MiB afterwards", printed, re.M)
    assert memory
    assert 10 < float(memory[1]) < 200


def test_a_short_run_prints_the_table_and_ends_well() -> None:
    # What it costs is not judged here, where other tests run beside it: a tenth is enough of a ratio.
    done = run(minimum="0.1")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert_table(done.stdout)
    assert done.stdout.endswith("good enough\n")


@pytest.mark.long
def test_a_ratio_below_the_minimum_is_a_failure() -> None:
    # Nothing is a hundred times better than itself.
    done = run(minimum="100")
    assert (done.returncode, done.stderr) == (1, "error: a ratio is below 100.0\n"), done.stdout
    assert_table(done.stdout)
