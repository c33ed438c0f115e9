"""A cloud that an ordinary user runs, whoever runs the tests."""

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
