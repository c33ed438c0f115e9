"""The whole cloud run by an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import WebApp, answers, eventually

pytestmark = pytest.mark.cloud

NOBODY = 65534
# /root may hold the interpreter and is closed to others: in a mount namespace of its own it is open, without a change
# to the machine.
AS_NOBODY = """
folder=$1; shift
mkdir "$folder/upper" "$folder/work"
mount -t overlay root -o "lowerdir=/root,upperdir=$folder/upper,workdir=$folder/work" /root
chmod 755 /root
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


@dataclass
class NobodysCloud(LocalCloud):
    """Every command runs as nobody."""

    scratch: list[str] = field(default_factory=list)

    def run(self, args: list[str], *more: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        self.scratch.append(tempfile.mkdtemp(prefix="open-root-"))
        self.env["HOME"] = str(self.dir)
        return super().run(
            ["unshare", "--mount", "sh", "-ec", AS_NOBODY, "sh", self.scratch[-1], *args], *more, **options
        )


@pytest.fixture
def cloud_of_nobody() -> Iterator[LocalCloud]:
    folder = Path(tempfile.mkdtemp(prefix="nobody-"))
    if os.geteuid() != 0:
        cloud = LocalCloud(folder)  # we are an ordinary user: so are all the other tests
    else:
        if shutil.which("setpriv") is None:
            pytest.skip("NOT TESTED: no setpriv (util-linux) on this machine")
        os.chown(folder, NOBODY, NOBODY)
        cloud = NobodysCloud(folder)
        seen = cloud.run([sys.executable, "-c", "import modal, os; print(os.getuid())"], check=False)
        if seen.returncode:
            pytest.skip(f"NOT TESTED: nobody cannot run {sys.executable} here: {seen.stderr.strip()[-200:]}")
        assert seen.stdout.strip() == str(NOBODY)
    cloud.start()
    yield cloud
    cloud.stop()
    for scratch in getattr(cloud, "scratch", []):
        shutil.rmtree(scratch)
    shutil.rmtree(folder)


def test_an_ordinary_user_can_run_it(cloud_of_nobody: LocalCloud) -> None:
    cloud = cloud_of_nobody
    app = WebApp(cloud, "user")
    app.deploy(min=1)
    printed = cloud.python(
        """
import modal
print(modal.Server.from_name("user", "Serve").get_url())
print(modal.Cls.from_name("user", "Web")().serve.get_web_url())
print(modal.Function.from_name("user", "where").remote()[1])
print(modal.Function.from_name("user", "keep").remote("text"))
"""
    ).stdout.split()
    assert printed[2:] == ["1", "text"]
    for url in printed[:2]:
        assert eventually(lambda url=url: answers(url))["version"] == "1"
    cloud.stop()
    assert list((cloud.dir / "containers").iterdir()) == []
    kept = [path.read_text() for path in (cloud.dir / "volumes").glob("*/kept")]
    assert kept == ["text"]
