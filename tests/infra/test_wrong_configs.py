"""Hundreds of wrong stack files and recipes, generated: each problem is said at once, in one line that mends it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from tests.infra.mistakes import COMBINED, SECRET, SINGLE, Expected, Mistake, Stack
from tests.stack.test_preview import prod, pulumi

__all__ = ["prod"]

SEED = 20261121
LONGEST = 1500
"""Characters of a problem: a screenful."""
EACH, TOGETHER = 8, 80


def check(problems: list[str], expected: list[Expected]) -> None:
    for problem in problems:
        assert problem.isprintable(), problem
        assert len(problem) <= LONGEST, problem[:LONGEST]
        assert re.search(r"`pulumi config |edit |`python -m ", problem), f"no mend: {problem}"
        assert SECRET not in problem
        assert "Error" not in problem
    for wanted in expected:
        place = r"(engineArgs\.|[\w-]+\.yaml( with engineArgs)?: (engine\.flags\.)?)?"
        found = [text for text in problems if re.match(place + re.escape(wanted.key), text)]
        assert found, f"{wanted} is not among {problems}"
        said = [text for text in found if wanted.mend in text and all(word in text for word in wanted.words)]
        assert said, f"{wanted} is not what {found} say"


def combinations(count: int) -> Iterator[tuple[Stack, list[Expected]]]:
    """Stacks with two to five mistakes, each in another top-level key."""
    for number in range(count):
        rng = random.Random(f"{SEED} together {number}")
        whole, expected = Stack(), []
        for mistake in rng.sample(COMBINED, rng.randint(2, 5)):
            part = Stack()
            wanted = mistake(rng, part)
            if not part.values.keys() & whole.values.keys():
                whole.values |= deepcopy(part.values)
                whole.clear |= part.clear
                expected.append(wanted)
        yield whole, expected


def test_they_are_two_hundred_and_more() -> None:
    assert len(SINGLE) * EACH + TOGETHER >= 200


@pytest.mark.parametrize("mistake", SINGLE, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_line_with_key_cause_and_command(mistake: Mistake, tmp_path: Path) -> None:
    for number in range(EACH):
        stack = Stack()
        expected = mistake(random.Random(f"{SEED} {mistake.__name__} {number}"), stack)
        check(stack.problems(tmp_path), [expected])


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    several = 0
    for stack, expected in combinations(TOGETHER):
        check(stack.problems(tmp_path), expected)
        several += len(expected) > 1
    assert several > TOGETHER / 2


BROKEN_FILES = {
    "several at once": (
        "  glm-serving:scaling: {minContainers: yes, maxContainers: 0, replicas: 3}\n"
        "  glm-serving:ingress: no\n"
        "  glm-serving:schedule: {timezone: Europe/Berln, changes: [{cron: 0 8 * * FUN, minContainers: 1}]}\n"
        "  glm-serving:budget: {maxMonthlyUsd: -5}\n"
        f"  glm-serving:hfToken: {SECRET}\n",
        [
            *("scaling.minContainers", "scaling.maxContainers", "scaling.replicas", "ingress", "schedule.timezone"),
            *("schedule.changes[0].cron", "budget.maxMonthlyUsd", "hfToken"),
        ],
    ),
    "what a terminal would obey": ('  glm-serving:environment: "\\e[2Jgone\\nnext"\n', ["environment"]),
    "a recipe that is no text": ("  glm-serving:recipe: infra/../.venv/bin/python3.yaml\n", ["recipe"]),
}


@pytest.mark.cli
@pytest.mark.parametrize("name", BROKEN_FILES)
def test_the_real_preview_shows_one_message_and_no_traceback(prod: Path, name: str) -> None:
    lines, keys = BROKEN_FILES[name]
    file = prod / "Pulumi.prod.yaml"
    salt = re.findall(r"^encryptionsalt:.*$", file.read_text(), re.MULTILINE)
    recipe = "" if "recipe:" in lines else "  glm-serving:recipe: tiny-glm-local\n"
    file.write_text(f"{salt[0]}\nconfig:\n{recipe}{lines}")
    preview = pulumi(prod, "preview", "--stack", "prod")
    said = preview.stdout + preview.stderr
    assert preview.returncode != 0
    assert "Traceback" not in said
    assert SECRET not in said
    assert "\x1b" not in said
    told = said.rpartition("Pulumi.prod.yaml has ")[2]
    assert set(re.findall(r"^ *- ([\w.\[\]]+):", told, re.MULTILINE)) == set(keys)
