"""A local cloud for tests: `python -m local` in a folder of its own, with the environment its clients need."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CLOUD_PYTHON = os.environ.get("LOCAL_CLOUD_PYTHON", sys.executable)
"""What runs the cloud, and so its containers: another one than the tests' when those are run with another modal."""


@dataclass
class LocalCloud:
    dir: Path
    """$LOCAL_DIR."""
    env: dict[str, str] = field(default_factory=dict)
    """Complete environment of a client: this process's, less its tokens, plus what `python -m local env` says."""

    def start(self) -> None:
        base = {key: value for key, value in os.environ.items() if not key.startswith(("MODAL_", "HF_", "PYTEST_"))}
        self.env = {**base, "LOCAL_DIR": str(self.dir)}
        self.run([CLOUD_PYTHON, "-m", "local", "start"])
        exports = self.run([CLOUD_PYTHON, "-m", "local", "env"]).stdout
        for line in exports.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = shlex.split(value)[0] if value else ""

    def stop(self) -> None:
        self.run([CLOUD_PYTHON, "-m", "local", "stop"])

    def run(
        self, args: list[str], check: bool = True, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command with the client environment (and `env` over it); with `check` a failure shows what it printed."""
        done = subprocess.run(
            args,
            check=False,
            env={**self.env, **(env or {})},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(args)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def modal(
        self, *args: str, check: bool = True, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The modal CLI."""
        variables = {"COLUMNS": "200", **(env or {})}
        return self.run([str(BIN / "modal"), *args], check=check, timeout=timeout, env=variables)

    def python(self, code: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A program in a process of its own."""
        return self.run([sys.executable, "-c", code], check=check, timeout=timeout)
