"""The benchmark of the serving container runs, measures both sides and fails where a ratio is too low."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_a_short_run_prints_the_table_and_judges_it() -> None:
    options = ["--rounds", "4", "--tokens", "16", "--streams", "1", "2", "--minimum", "100"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Nothing is a hundred times better than itself.
    assert (done.returncode, done.stderr) == (1, "error: a ratio is below 100.0\n"), done.stdout
    rows = re.findall(
        r"^ +([12])  (time to first token, ms|tokens/s of a stream) +(\S+) +(\S+) +(\S+)$", done.stdout, re.M
    )
    assert [(row[0], row[1][:4]) for row in rows] == [("1", "time"), ("1", "toke"), ("2", "time"), ("2", "toke")]
    assert all(float(value) > 0 for row in rows for value in row[2:])
    memory = re.search(r"^supervisor: (\S+) MiB resident when ready, (\S+) MiB afterwards", done.stdout, re.M)
    assert memory
    assert 10 < float(memory[1]) < 200
