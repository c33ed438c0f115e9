"""One Hub for the module tests, in a process of its own, and a client for its control API."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

REPO = "glm-serving/micro-glm"


@dataclass
class RunningHub:
    url: str
    token: str
    folder: Path

    def control(self, method: str, path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/_local/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def fault(self, match: str, kind: str, **fields: object) -> None:
        self.control("POST", "faults", {"match": match, "kind": kind, **fields})

    def traffic(self) -> dict[str, Any]:
        """Per file path of the micro repository."""
        files = self.control("GET", "requests")["files"]
        return {name.removeprefix(REPO + "/"): value for name, value in files.items()}


@pytest.fixture(scope="session")
def hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("hub")
    command = [sys.executable, "-m", "local.hub", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    match = re.match(r"hub on (\S+),", process.stdout.readline())
    assert match is not None
    yield RunningHub(match[1], (folder / "token").read_text().strip(), folder)
    process.terminate()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


@pytest.fixture
def hub(hub_process: RunningHub) -> Iterator[RunningHub]:
    hub_process.control("DELETE", "requests")
    yield hub_process
    hub_process.control("DELETE", "faults")
    hub_process.control("POST", "throttle", {"bytes_per_second": None})
