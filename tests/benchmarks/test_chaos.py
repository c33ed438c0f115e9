"""A small chaos run: what `python -m benchmarks.chaos` does with 1,000 calls."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.local_cloud import REPOSITORY

pytestmark = pytest.mark.cloud


@pytest.mark.long
def test_every_call_ends_right_or_with_a_documented_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--calls", "40", "--parallel", "8", "--kills", "0.05", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["right"] + sum(told["errors"].values()) == told["calls"] == 40
    assert told["right"] >= 30, told["errors"]
    assert told["rpc_faults"] >= 5
    assert told["killed"] >= 1
