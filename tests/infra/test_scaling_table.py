"""docs/scaling.md: each row of a table names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_row_names_a_test_that_exists() -> None:
    rows = [line for line in (REPOSITORY / "docs" / "scaling.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.endswith("| shown by |") and "---" not in row]
    assert len(rows) == 14
    for row in rows:
        places = re.findall(r"`(tests/[^`]+)::(\w+)`", row)
        assert places, row
        for path, test in places:
            assert re.search(rf"^def {test}\(", (REPOSITORY / path).read_text(), re.MULTILINE), (path, test)
