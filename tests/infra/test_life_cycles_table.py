"""docs/life-cycles.md: each row names the test that does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "life-cycles.md").read_text(encoding="utf-8")
HEAD = ["case", "what you see", "what `up` does", "test"]
FEWEST_ROWS = {"Drift": 24, "Replacements": 14, "Adoption": 8, "Crashes": 1, "Faults": 5, "Wrong configs": 1}
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = DOCUMENT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    assert cells[0] == HEAD
    return cells[2:]


def test_the_sections_are_these() -> None:
    assert re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE) == list(FEWEST_ROWS)


@pytest.mark.parametrize(("section", "fewest"), FEWEST_ROWS.items())
def test_every_row_is_whole_and_its_tests_exist(section: str, fewest: int) -> None:
    found = rows(section)
    assert len(found) >= fewest
    assert len({case for case, *_ in found}) == len(found)
    for cells in found:
        assert len(cells) == len(HEAD), cells
        assert all(cells), cells
        named = _TEST.findall(cells[-1])
        assert named, cells
        assert _TEST.sub("", cells[-1]).strip(", ") == "", f"not a test: {cells[-1]}"
        for path, test in named:
            text = (REPOSITORY / path).read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{path} has no {test}"
