"""A small chaos run: what `python -m benchmarks.chaos` does with 1,000 calls."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.local_cloud import REPOSITORY, LocalCloud
from tests.ordinary_user import cloud_of_nobody

__all__ = ["cloud_of_nobody"]
pytestmark = pytest.mark.cloud
CHAOS = [sys.executable, "-m", "benchmarks.chaos", "--calls", "40", "--parallel", "8", "--kills", "0.05", "--json"]


@pytest.mark.long
def test_every_call_ends_right_or_with_a_documented_error() -> None:
    as_it_should_be(
        subprocess.run(CHAOS, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False),
    )


@pytest.mark.long
def test_the_same_as_an_ordinary_user(cloud_of_nobody: LocalCloud) -> None:
    as_it_should_be(cloud_of_nobody.run(CHAOS, timeout=280, check=False))


def as_it_should_be(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["problems"] == []
    assert told["right"] + sum(told["errors"].values()) == told["calls"] == 40
    assert told["right"] >= 30, told["errors"]
    assert told["rpc_faults"] >= 5
    assert told["killed"] >= 1
