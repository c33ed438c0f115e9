"""What containers see of a volume, and when: commit, reload, background commits, open files."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from local.modal_cloud.seams import OpenFiles, VolumeMount
from tests.modal_cloud.stage import OBEY, Stage, mode, staged, tell, view

__all__ = ["mode"]
pytestmark = pytest.mark.cloud

READ_ALL = (
    "print('sees', sorted((str(p), p.read_text()) for p in __import__('pathlib').Path('/models').rglob('*')"
    " if p.is_file()), 'end')"
)


async def two(stage: Stage, **files: str) -> tuple[str, str]:
    """Task ids of two running containers with the same volume `vo-1` at /models."""
    volume = stage.volume("vo-1", **files)
    containers = [await stage.start(OBEY, volumes=view(volume)) for _ in range(2)]
    for container in containers:
        await stage.says(container, "up")
    return containers[0].task_id, containers[1].task_id


async def do(stage: Stage, task: str, line: str) -> None:
    container = stage.runtime.get(task)
    assert container is not None
    await tell(stage, container, line)


async def sees(stage: Stage, task: str) -> dict[str, str]:
    container = stage.runtime.get(task)
    assert container is not None
    stage.cloud.logs.lines[task] = []
    container_file = stage.cloud.folders.containers / task / "runtime" / "lines"
    container_file.open("a").write(READ_ALL + "\n")
    await stage.says(container, " end\n")
    line = next(each for each in stage.cloud.logs.lines[task] if each.startswith("sees "))
    found = ast.literal_eval(line.removeprefix("sees ").removesuffix(" end\n"))
    return {path.removeprefix("/models/"): text for path, text in found}


def test_others_see_a_commit_after_their_reload_only(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            first, second = await two(stage, kept="old", removed="x")
            views = stage.runtime.views
            await do(stage, first, "os.makedirs('/models/deep/er'); open('/models/deep/er/new', 'w').write('n')")
            await do(stage, first, "open('/models/kept', 'w').write('changed'); os.remove('/models/removed')")
            assert stage.committed("vo-1") == {"kept": "old", "removed": "x"}
            assert await sees(stage, first) == {"kept": "changed", "deep/er/new": "n"}

            await views.commit(first, "vo-1")
            assert stage.committed("vo-1") == {"kept": "changed", "deep/er/new": "n"}
            assert await sees(stage, second) == {"kept": "old", "removed": "x"}

            await views.reload(second, "vo-1")
            assert await sees(stage, second) == {"kept": "changed", "deep/er/new": "n"}
            assert await sees(stage, first) == {"kept": "changed", "deep/er/new": "n"}

            # What has been committed stays as committed while its writer goes on.
            await do(stage, first, "open('/models/kept', 'a').write(' again')")
            assert stage.committed("vo-1")["kept"] == "changed"
            await views.commit(first, "vo-1")
            assert stage.committed("vo-1")["kept"] == "changed again"
            assert (await sees(stage, second))["kept"] == "changed"

    asyncio.run(run())


def test_writers_of_the_same_folder_keep_each_others_files(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            first, second = await two(stage)
            views = stage.runtime.views
            for task, name in ((first, "a"), (second, "b")):
                await do(stage, task, f"os.mkdir('/models/same'); open('/models/same/{name}', 'w').write('{name}')")
            await views.commit(first, "vo-1")
            await views.commit(second, "vo-1")
            assert stage.committed("vo-1") == {"same/a": "a", "same/b": "b"}
            await views.reload(first, "vo-1")
            assert await sees(stage, first) == {"same/a": "a", "same/b": "b"}

            # A folder removed and made again loses what was seen in it, and only that.
            await do(stage, second, "open('/models/same/c', 'w').write('c')")
            await views.commit(second, "vo-1")
            await do(stage, first, "__import__('shutil').rmtree('/models/same'); os.mkdir('/models/same')")
            await do(stage, first, "open('/models/same/d', 'w').write('d')")
            await views.commit(first, "vo-1")
            assert stage.committed("vo-1") == {"same/c": "c", "same/d": "d"}

    asyncio.run(run())


def test_open_files(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            first, second = await two(stage, kept="old")
            views = stage.runtime.views
            await do(stage, first, "log = open('/models/log', 'a', buffering=1); log.write('one ')")
            await do(stage, first, "log.flush(); open('/models/closed', 'w').write('c')")
            with pytest.raises(OpenFiles):
                await views.reload(first, "vo-1")
            # A commit takes what is there; the file may stay open, and what follows comes with the next commit.
            await views.commit(first, "vo-1")
            assert stage.committed("vo-1") == {"kept": "old", "log": "one ", "closed": "c"}
            await do(stage, first, "log.write('two'); log.flush(); open('/models/closed', 'w').write('d')")
            assert stage.committed("vo-1") == {"kept": "old", "log": "one ", "closed": "c"}
            # Somebody else's later commit of a file isn't undone by committing again what hasn't changed here.
            await do(stage, second, "open('/models/closed', 'w').write('theirs'); os.remove('/models/kept')")
            await views.commit(second, "vo-1")
            await do(stage, first, "log.write(' three'); log.flush()")
            await views.commit(first, "vo-1")
            assert stage.committed("vo-1") == {"log": "one two three", "closed": "d"}
            await do(stage, second, "open('/models/closed', 'w').write('theirs again')")
            await views.commit(second, "vo-1")
            await views.commit(first, "vo-1")
            assert stage.committed("vo-1")["closed"] == "theirs again"

            await do(stage, first, "log.close()")
            await views.reload(first, "vo-1")
            assert await sees(stage, first) == {"log": "one two three", "closed": "theirs again"}
            # Reading counts as open as well, and so does the current folder.
            for line in ("held = open('/models/log')", "held.close(); os.chdir('/models')"):
                await do(stage, first, line)
                with pytest.raises(OpenFiles):
                    await views.reload(first, "vo-1")
            await do(stage, first, "os.chdir('/')")
            await views.reload(first, "vo-1")

    asyncio.run(run())


def test_background_commits(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            first, second = await two(stage, kept="old")
            views = stage.runtime.views
            await do(stage, second, "open('/models/theirs', 'w').write('t')")
            await views.commit(second, "vo-1")
            for number in range(9):
                await do(stage, first, f"open('/models/n', 'w').write('{number}')")
                await views.commit_in_background()
                assert stage.committed("vo-1") == {"kept": "old", "theirs": "t", "n": str(number)}
                assert await sees(stage, first) == {"kept": "old", "n": str(number)}, "others' commits need a reload"
            await do(stage, first, "os.remove('/models/n'); part = open('/models/part', 'w')")
            await do(stage, first, "open('/models/whole', 'w').write('w')")
            await views.commit_in_background()
            assert stage.committed("vo-1") == {"kept": "old", "theirs": "t", "whole": "w"}
            await do(stage, first, "part.write('p'); part.close()")
            await views.commit_in_background()
            assert stage.committed("vo-1") == {"kept": "old", "theirs": "t", "whole": "w", "part": "p"}

    asyncio.run(run())


@pytest.mark.parametrize("background", [True, False])
def test_the_end_of_a_container_commits(mode: str, background: bool, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            volume = stage.volume("vo-1")
            script = "import os, signal\nopen('/models/a', 'w').write('a')\nos.kill(os.getpid(), signal.SIGKILL)"
            container = await stage.start(script, volumes=view(volume, background_commits=background))
            assert await container.wait() == -9
            assert stage.committed("vo-1") == ({"a": "a"} if background else {})

    asyncio.run(run())


def test_read_only_and_sub_path(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            folder = stage.cloud.folders.volume(stage.volume("vo-1", top="t"))
            (folder / "sub").mkdir()
            (folder / "sub" / "inner").write_text("i")
            stage.volume("vo-2")
            reader = await stage.start(OBEY, volumes=view("vo-1", read_only=True, sub_path="/sub"))
            writer = await stage.start(
                OBEY, volumes=[VolumeMount("vo-1", "/models"), VolumeMount("vo-2", "/other", sub_path="made/here")]
            )
            assert await sees(stage, reader.task_id) == {"inner": "i"}
            await do(
                stage, writer.task_id, "open('/models/sub/more', 'w').write('m'); open('/other/x', 'w').write('x')"
            )
            for volume in ("vo-1", "vo-2"):
                await stage.runtime.views.commit(writer.task_id, volume)
            assert stage.committed("vo-2") == {"made/here/x": "x"}
            assert await sees(stage, reader.task_id) == {"inner": "i"}
            await stage.runtime.views.reload(reader.task_id, "vo-1")
            assert await sees(stage, reader.task_id) == {"inner": "i", "more": "m"}
            container_lines = stage.cloud.logs.lines[reader.task_id]
            with pytest.raises(AssertionError, match="Read-only"):
                await do(stage, reader.task_id, "open('/models/new', 'w')")
            assert container_lines

    asyncio.run(run())


def test_large_files_are_linked_not_copied(mode: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with staged(tmp_path) as stage:
            first, second = await two(stage)
            await do(stage, first, "f = open('/models/big', 'wb'); f.truncate(3 << 30); f.write(b'x'); f.close()")
            started = time.monotonic()
            await stage.runtime.views.commit(first, "vo-1")
            await stage.runtime.views.reload(second, "vo-1")
            assert time.monotonic() - started < 1
            await do(stage, second, "assert os.path.getsize('/models/big') == 3 << 30")
            assert os.stat(stage.cloud.folders.volume("vo-1") / "big").st_nlink >= 3

    asyncio.run(run())


RANDOM_CHANGES = """
import random, shutil
def change(seed, count):
    dice = random.Random(seed)
    names = ["a", "b", "c"]
    for number in range(count):
        path = "/".join(["/models", *(dice.choice(names) for _ in range(dice.randint(1, 3)))])
        other = "/".join(["/models", *(dice.choice(names) for _ in range(dice.randint(1, 2)))])
        kind = dice.choice(["write", "write", "append", "remove", "folder", "tree", "rename", "link", "mode"])
        try:
            if kind == "write":
                os.makedirs(os.path.dirname(path), exist_ok=True)
                open(path, "w").write(f"{seed}/{number}")
            elif kind == "append":
                open(path, "a").write("+")
            elif kind == "remove":
                os.remove(path)
            elif kind == "folder":
                os.makedirs(path)
            elif kind == "tree":
                shutil.rmtree(path)
            elif kind == "rename":
                os.rename(path, other)
            elif kind == "link":
                os.symlink("somewhere", path)
            elif kind == "mode":
                os.chmod(path, dice.choice([0o644, 0o755]) if os.path.isfile(path) else 0o755)
        except OSError:
            pass
"""


def tree(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.rglob("*"):
        text = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "folder"
        found[str(path.relative_to(folder))] = f"{text} {0 if path.is_symlink() else path.stat().st_mode:o}"
    return found


@pytest.mark.parametrize("seed", range(4))
def test_whatever_one_writer_does_is_what_is_committed(mode: str, seed: int, tmp_path: Path) -> None:
    """Random changes with commits of all kinds in between, a file being open some of the time."""

    async def run() -> None:
        async with staged(tmp_path / "local") as stage:
            views = stage.runtime.views
            volume = stage.volume("vo-1", a="from before", seen="x")
            script = OBEY.replace("names = {", RANDOM_CHANGES + "\nnames = {'change': change, ")
            container = await stage.start(script, volumes=view(volume))
            await stage.says(container, "up")
            dice = random.Random(seed)
            for step in range(12):
                await tell(stage, container, f"change({seed * 100 + step}, 30)")
                if dice.random() < 0.4:
                    await tell(stage, container, f"held = open('/models/held{dice.randint(1, 2)}', 'w')")
                match dice.randint(0, 3):
                    case 0:
                        await views.commit_in_background()
                    case 1:
                        await views.commit(container.task_id, volume)
                    case 2:
                        with contextlib.suppress(OpenFiles):
                            await views.reload(container.task_id, volume)
                if dice.random() < 0.5:
                    await tell(stage, container, "held = None")
            await tell(stage, container, "held = None")
            await views.commit(container.task_id, volume)
            copy = "shutil.copytree('/models', '/run/modal/view', symlinks=True)"
            await tell(stage, container, f"import shutil; {copy}")
            seen = tree(stage.cloud.folders.containers / container.task_id / "runtime" / "view")
            assert len(seen) > 3
            assert tree(stage.cloud.folders.volume(volume)) == seen

    asyncio.run(run())
