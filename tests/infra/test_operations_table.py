"""docs/operations.md: no row of the guide is missing, and whatever a row names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from serving.log_rules import SHARED
from serving.log_rules_sglang import SGLANG

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
ROWS_OF_THE_GUIDE = {
    "Parameters": 10,
    "EAGLE speculative decoding": 3,
    "BF16 KV cache with FP8 weights": 3,
    "Concurrency, memory, stability": 4,
    "Warnings": 10,
    "Crash patterns and log triage": 5,
    "Deployment review list": 10,
    "Upstream mitigations": 4,
    "Cold start: phases": 5,
    "Cold start: mitigation and remediation": 5,
    "Cost strategies": 3,
    "Tuning triangle": 3,
    "Runtime diagnostics": 3,
    "Upgrading SGLang, switching GPUs": 3,
}
_TOP = "bootstrap|components|docs|examples|infra|local|recipes|serving|tests"
_PLACE = re.compile(rf"`((?:(?:{_TOP})/|Pulumi\.)[^`]*)`")


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = DOCUMENT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize(("section", "count"), ROWS_OF_THE_GUIDE.items())
def test_no_row_of_the_guide_is_missing(section: str, count: int) -> None:
    found = rows(section)
    assert len(found) == count
    for cells in found:
        *_, said, shown = cells
        if shown == "–":
            assert "not there yet" in said, cells
        else:
            assert _PLACE.search(shown), cells


def test_there_is_no_other_section() -> None:
    assert re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE) == list(ROWS_OF_THE_GUIDE)


def test_every_file_and_every_test_that_is_named_exists() -> None:
    places = _PLACE.findall(DOCUMENT)
    assert len(places) > 70
    missing = []
    for place in places:
        path, _, test = place.partition("::")
        file = REPOSITORY / path
        if not file.exists() or (test and not re.search(rf"^(?:async )?def {test}\(", file.read_text(), re.MULTILINE)):
            missing.append(place)
    assert not missing


def test_rules_are_named_as_they_are() -> None:
    known = {rule.name: rule for rule in (*SGLANG, *SHARED)}
    for section, rule_column in (("Warnings", 2), ("Crash patterns and log triage", 1)):
        for cells in rows(section):
            assert cells[rule_column].strip("`") in known, cells
    for cells in rows("Warnings"):
        rule = known[cells[2].strip("`")]
        compiling, serving = cells[3].partition(":")[0].split(" / ")
        assert (rule.while_compiling or rule.severity, rule.severity) == (compiling, serving), cells
    broken = {
        rule["name"] for rule in yaml.safe_load((REPOSITORY / "recipes/flags/known_broken.yaml").read_text())["rules"]
    }
    for cells in rows("Upstream mitigations"):
        assert set(re.findall(r"`([\w-]+)`", cells[1])) <= broken, cells


def test_the_parameters_are_those_of_the_recipe_and_the_stack() -> None:
    flags = yaml.safe_load((REPOSITORY / "recipes/glm-5.1-fp8-b200.yaml").read_text())["engine"]["flags"]
    guide = yaml.safe_load((REPOSITORY / "recipes/glm-5.1-fp8-b200-reference.yaml").read_text())["engine"]["flags"]
    config = yaml.safe_load((REPOSITORY / "Pulumi.prod.yaml").read_text())["config"]
    scaling = config["glm-serving:scaling"]
    for parameter, said, here, _ in rows("Parameters"):
        name = parameter.strip("`").removeprefix("--")
        if parameter.startswith("`--"):
            value = flags[name]
            assert here.startswith(str(value) if value is not True else "true"), parameter
            assert said.startswith(str(guide[name]) if guide[name] is not True else "on"), parameter
        else:
            key, number = re.findall(r"`scaling\.(\w+)` (\d+)", here)[0]
            assert scaling[key] == int(number), parameter
