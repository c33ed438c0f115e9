"""The benchmark of life cycles: the part that takes seconds, and what it says of its figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lifecycle import Ratio

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.cloud
def test_a_download_is_compared_with_a_plain_one(tmp_path: Path) -> None:
    options = ["--only", "download", "--rounds", "1", "--link", "3", "--json", str(tmp_path / "raw.json")]
    command = [sys.executable, "-m", "benchmarks.lifecycle", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert re.search(r"^download, MB/s ÷ plain snapshot_download, 24 MB/s link +\d", done.stdout, re.M), done.stderr
    (raw,) = json.loads((tmp_path / "raw.json").read_text())
    assert done.returncode == (0 if raw["ratio"] >= 0.95 else 1)
    assert 5 < raw["measured"][0] < 40  # MB/s over a link of 24
    assert 5 < raw["against"][0] < 40


@pytest.mark.parametrize(
    ("ratio", "holds"),
    [
        (Ratio("a", [1.1, 1.0, 5.0], [1.0, 1.0, 1.0], most=1.1), True),
        (Ratio("a", [1.2, 1.2, 1.0], [1.0, 1.0, 1.0], most=1.1), False),
        (Ratio("a", [0.9], [1.0], least=0.95), False),
        (Ratio("a", [1.0], [1.0], most=1.1, failures=["1 of 2 replicas restarted"]), False),
        (Ratio("a", [9.0], [1.0]), True),
    ],
)
def test_a_median_beyond_its_limit_or_a_failure_is_a_miss(ratio: Ratio, holds: bool) -> None:
    assert ratio.holds == holds
    assert ("MISSED" in ratio.line()) == (not holds)
