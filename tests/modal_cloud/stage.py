"""A container runtime without a control plane, for tests of containers as a library."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from local.modal_cloud.containers import Runtime
from local.modal_cloud.containers.runtime import USER_NAMESPACE, RunningContainer
from local.modal_cloud.folders import Folders
from local.modal_cloud.seams import ContainerSpec, VolumeMount


@pytest.fixture(params=["native", "user namespace"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "user namespace":
        monkeypatch.setenv(USER_NAMESPACE, "1")
        works = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--net", "true"], check=False)
        if works.returncode:
            pytest.skip("this machine has no unprivileged user namespaces (kernel.unprivileged_userns_clone?)")
    elif os.geteuid() != 0:
        pytest.skip("not root: only the user-namespace mode exists")
    return str(request.param)


class _Logs:
    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}

    def append(self, task_id: str, descriptor: int, text: str) -> None:
        self.lines.setdefault(task_id, []).append(text)


class _Cloud:
    """What the runtime needs of the cloud."""

    def __init__(self, root: Path) -> None:
        self.folders = Folders(root)
        self.folders.create()
        self.logs = _Logs()

    def handlers(self, task_id: str) -> list[Any]:
        return []


class Stage:
    """A runtime whose containers run Python scripts that obey lines sent through a file in their `/run/modal`."""

    def __init__(self, root: Path) -> None:
        self.cloud = _Cloud(root)
        self.runtime = Runtime(self.cloud)  # type: ignore[arg-type]
        self.count = 0

    def volume(self, volume_id: str, **files: str) -> str:
        folder = self.cloud.folders.volume(volume_id)
        folder.mkdir(parents=True)
        for path, text in files.items():
            (folder / path).write_text(text)
        return volume_id

    def committed(self, volume: str) -> dict[str, str]:
        folder = self.cloud.folders.volume(volume)
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    async def start(self, script: str, **spec: Any) -> RunningContainer:
        self.count += 1
        self.runtime.program = (sys.executable, "-u", "-c", textwrap.dedent(script))
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": "/root"}
        return await self.runtime.launch(
            ContainerSpec(f"ta-{self.count:022}", "fu-1", b"arguments", environment, python_path=["/root"], **spec)
        )

    def output(self, container: RunningContainer) -> str:
        return "".join(self.cloud.logs.lines.get(container.task_id, []))

    async def says(self, container: RunningContainer, text: str, within: float = 10) -> None:
        deadline = time.monotonic() + within
        while text not in self.output(container):
            assert time.monotonic() < deadline, f"{text!r} not in {self.output(container)!r}"
            await asyncio.sleep(0.01)

    async def result(self, script: str, **spec: Any) -> str:
        container = await self.start(script, **spec)
        returncode = await container.wait()
        assert returncode == 0, self.output(container)
        return self.output(container)


@asynccontextmanager
async def staged(root: Path) -> AsyncIterator[Stage]:
    stage = Stage(root)
    await stage.runtime.start()
    try:
        yield stage
    finally:
        await stage.runtime.close()


# A script that runs each line it is sent on its own, answering "done" or the exception.
OBEY = """
import os, sys, time
names = {"os": os}
seen = 0
print("up")
while True:
    try:
        lines = open("/run/modal/lines").read().splitlines()
    except FileNotFoundError:
        lines = []
    for number, line in enumerate(lines[seen:], seen):
        try:
            exec(line, names)
            print(f"{number} done")
        except BaseException as error:
            print(f"{number} {error!r}")
    seen = len(lines)
    time.sleep(0.01)
"""


async def tell(stage: Stage, container: RunningContainer, line: str) -> None:
    """Runs one line in an OBEY container."""
    file = stage.cloud.folders.containers / container.task_id / "runtime" / "lines"
    number = len(file.read_text().splitlines()) if file.exists() else 0
    with file.open("a") as stream:
        stream.write(line + "\n")
    await stage.says(container, f"\n{number} ")
    assert f"{number} done\n" in stage.output(container), stage.output(container)


def view(volume: str, path: str = "/models", **options: Any) -> list[VolumeMount]:
    return [VolumeMount(volume, path, **options)]
