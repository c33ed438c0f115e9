"""docs/tour.md, typed by somebody who has nothing but the checkout: each command does what the document shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.stack.project import REPOSITORY
from tests.stack.test_make import Checkout

TOUR = REPOSITORY / "docs" / "tour.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)


def steps() -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines that the document shows of its output."""
    for block in _BLOCK.findall(TOUR.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *shown = part.rstrip().splitlines()
            yield command, [line.rstrip() for line in shown if line.strip()]


def pattern(line: str) -> re.Pattern[str]:
    """`…` is anything, an amount of space any other."""
    return re.compile(r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split()))


@pytest.mark.cli
@pytest.mark.cloud
@pytest.mark.long
def test_each_command_prints_what_the_tour_shows(tmp_path_factory: pytest.TempPathFactory) -> None:
    checkout = Checkout(tmp_path_factory.mktemp("tour"))
    # Its environment is the repository's, whose packages would be the repository's too: without the new recipe.
    checkout.remember('export PYTHONPATH="$PWD"')
    try:
        for command, shown in steps():
            if command.startswith(("eval ", "export ")):
                checkout.remember(command)
                continue
            refused = any(line.startswith(("error", "make: ***")) for line in shown)
            printed = checkout.run("bash", "-c", f'{command}\necho "exit $?"')
            assert printed.rstrip().endswith("exit 0") != refused, f"$ {command}\n{printed}"
            lines = iter(printed.splitlines())
            for line in shown:
                assert any(pattern(line).search(found) for found in lines), f"$ {command}\nno {line!r} in\n{printed}"
    finally:
        if (checkout.folder / ".local" / "installation.json").exists():
            checkout.run(str(checkout.folder / ".venv/bin/python"), "-m", "local", "stop")
    assert checkout.processes() == []


def test_the_tour_has_every_part_of_the_way() -> None:
    typed = [command for command, _ in steps()]
    for part in ("make up", "python examples/", "scaling.maxContainers", "cp recipes/", "make preview", "make releases",
                 "serving.log_triage", "make graph", "make down"):  # fmt: skip
        assert any(part in command for command in typed), part


def test_the_readmes_five_minutes_are_part_of_the_tour() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = readme.split("## Five minutes", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    typed = {command for command, _ in steps()}
    for line in block.splitlines():
        assert re.sub(r"\s+#.*", "", line) in typed, line
