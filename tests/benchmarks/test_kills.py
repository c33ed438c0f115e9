"""The committed results of benchmarks/kills are of the seeds they name, and the documents tell what is in them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.kills import victims
from benchmarks.kills.__main__ import summary
from benchmarks.kills.checks import repeated
from benchmarks.kills.cloud_state import JobCall

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = [json.loads(line) for line in (BENCHMARKS / "kills" / "results.jsonl").read_text().splitlines()]


def test_each_seed_is_there_once_and_chose_what_its_line_says() -> None:
    assert len({line["seed"] for line in RESULTS}) == len(RESULTS)
    for line in RESULTS:
        chance = random.Random(line["seed"])
        assert (victims.choose(chance), round(chance.random(), 4)) == (line["target"], line["fraction"])


def test_no_check_found_anything() -> None:
    assert [line["seed"] for line in RESULTS if line["problems"]] == []


def test_the_readme_has_the_table_of_these_results() -> None:
    assert summary(RESULTS) in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


def test_work_that_was_done_twice_and_jobs_that_run_on_are_found() -> None:
    done, again = (JobCall("download_model", at, at + 1, "success", True) for at in (1.0, 3.0))
    asked = JobCall("download_model", 5.0, 6.0, "success", False)  # found it done
    left = JobCall("compile_deepgemm", 7.0, None, "unfinished", False)
    assert repeated([done, asked]) == []
    assert repeated([done, again, left]) == ["download_model did its work 2 times", "compile_deepgemm still runs"]
