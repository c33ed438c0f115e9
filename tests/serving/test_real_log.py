"""Every kind of line that a real SGLang wrote while compiling, starting, serving and stopping well: none is news."""

from __future__ import annotations

import pytest

from serving.log_report import LogReport
from tests.serving.conftest import REPO_ROOT

LINES = [
    line
    for name in ("kinds-of-lines.txt", "start-four-ranks.txt")
    for line in (REPO_ROOT / "tests/recordings/sglang-0.5.16" / name).read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("compiling", [False, True])
def test_no_warning_of_a_healthy_engine_is_unknown(compiling: bool) -> None:
    report = LogReport(engine="sglang", compiling=compiling)
    report.read_all(LINES)
    assert report.unknown == []
    assert not report.alarming


def test_one_more_would_be_noticed() -> None:
    report = LogReport(engine="sglang")
    report.read_all([*LINES, "[2026-11-21 16:13:17] The moon is not supported on this GPU."])
    assert report.unknown == ["[2026-11-21 16:13:17] The moon is not supported on this GPU."]
