"""The README's commands, as a newcomer types them: `make up` and `make down` in a checkout of their own, two stacks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.project import REPOSITORY

pytestmark = pytest.mark.cloud

_NOT_INHERITED = ("MODAL_", "HF_", "LOCAL_", "PULUMI_", "PYTEST_", "MAKE", "VIRTUAL_ENV", "GLM_SERVING_")
_LIMIT = 240
"""Seconds for one command; it takes a tenth of that where nothing else runs."""


def _linked_package(source: str, target: str) -> str:
    """A package's file is linked, so that 300 MB need not be copied; what the environment keeps for itself is not."""
    if "/site-packages/" in source and os.stat(source).st_dev == os.stat(Path(target).parent).st_dev:
        os.link(source, target)
        return target
    return str(shutil.copy2(source, target))


class Checkout:
    """A copy of the working tree with the repository's environment, and a home folder where nothing ever was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"

        # Where it is up to date, the copy's own bootstrap finds it so and installs nothing into it.
        subprocess.run(["bash", "bootstrap/environment.sh"], cwd=REPOSITORY, check=True)

        def neither_state_nor_caches(folder: str, names: list[str]) -> set[str]:
            hidden = {name for name in names if name.startswith(".")} if folder == str(REPOSITORY) else set()
            return hidden | {"__pycache__"}

        shutil.copytree(REPOSITORY, self.folder, symlinks=True, ignore=neither_state_nor_caches)
        # No link to the folder: containers see what lies in the checkout, and a stamp written here must stay here.
        shutil.copytree(REPOSITORY / ".venv", self.folder / ".venv", symlinks=True, copy_function=_linked_package)
        home = folder / "home"
        home.mkdir()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        self._environment = {**inherited, "HOME": str(home)}

    def run(self, *command: str) -> str:
        """What it printed; fails with that where it fails or takes too long, and then leaves nothing of it running."""
        with (self.folder.parent / "printed").open("w+") as printed:
            made = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = made.wait(_LIMIT)
            except subprocess.TimeoutExpired:
                code = None
                os.killpg(made.pid, signal.SIGKILL)
                made.wait()
            printed.seek(0)
            text = printed.read()
        assert code == 0, f"{' '.join(command)}: {code}\n{text}"
        return text

    def remember(self, command: str) -> None:
        """Whatever follows has the environment that a shell has after this command."""
        printed = self.run("bash", "-c", f"{command}\nprintf '\\0'\nenv -0")
        self._environment = dict(pair.split("=", 1) for pair in printed.split("\0")[1:-1])

    def processes(self) -> list[str]:
        """Command lines of what runs in this checkout or was started with its local cloud's settings."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue  # ended while we look
            if str(self.folder).encode() in command + environment:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = Checkout(tmp_path_factory.mktemp("make"))
    yield made
    if (made.folder / ".local" / "installation.json").exists():  # a test has failed half-way
        made.run(sys.executable, "-m", "local", "stop")


def answered(printed: str, model: str) -> bool:
    return bool(re.search(rf"^  What is 2\+2\?\n  {re.escape(model)}: .*\b4\b.*\(\d+\.\d s\)$", printed, re.M))


def test_up_ends_with_the_answer_to_its_question(checkout: Checkout) -> None:
    printed = checkout.run("make", "up")
    assert answered(printed, "tiny-glm"), printed
    assert "make down\n" in printed


def test_a_second_stack_comes_up_beside_it_in_the_same_cloud(checkout: Checkout) -> None:
    printed = checkout.run("make", "up", "STACK=glm52-local")
    assert "already running: " in printed
    assert answered(printed, "tiny-glm-5.2"), printed
    assert "make down STACK=glm52-local\n" in printed
    assert "vllm" in " ".join(checkout.processes())


def test_a_stack_that_goes_leaves_the_other_running_and_says_so(checkout: Checkout) -> None:
    # What a CLI leaves that is killed at the wrong moment: its state is whole, the checksum beside it is not.
    states = checkout.folder / ".local" / "pulumi" / ".pulumi" / "stacks" / "glm-serving"
    (states / "glm52-local.json.attrs").write_bytes(b"")
    printed = checkout.run("make", "down", "STACK=glm52-local")
    assert "local: goes on running, for local; make down STACK=… for each ends it" in printed
    assert "vllm" not in " ".join(checkout.processes())
    printed = checkout.run("bash", "-c", 'eval "$(make -s env)" && python -m infra.first_answer local')
    assert answered(printed, "tiny-glm"), printed


def test_the_last_one_ends_everything(checkout: Checkout) -> None:
    printed = checkout.run("make", "down")
    assert printed.endswith("local: stopped, .local/ removed\n")
    assert not (checkout.folder / ".local").exists()
    assert checkout.processes() == []
