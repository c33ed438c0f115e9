"""A real Prometheus for tests: on PATH, or Debian's package unpacked into the test's cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.names import MONITORING
from tests.serving.conftest import free_port

_DOWNLOAD_SECONDS = 90


class NotToBeHad(Exception):
    """Why there is none here."""


def programs(cache: Path) -> Path:
    """The folder with `prometheus` and `promtool`. Raises NotToBeHad."""
    for name in ("prometheus", "promtool"):
        if not shutil.which(name):
            break
    else:
        return Path(shutil.which("prometheus") or "").parent
    folder = cache / "usr" / "bin"
    if not (folder / "promtool").exists():
        _unpack(cache)
    return folder


def _unpack(cache: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NotToBeHad("no prometheus on PATH, and no apt-get to fetch Debian's package with")
    if not list(cache.glob("prometheus_*.deb")):
        _run(["apt-get", "download", "prometheus"], cache, once_more=True)
    (package,) = cache.glob("prometheus_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(cache)], cache)


def _run(command: list[str], folder: Path, once_more: bool = False) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"no prometheus on PATH, and {command[0]} took over {_DOWNLOAD_SECONDS} s") from None
    if done.returncode == 0:
        return
    if once_more:
        _run(["apt-get", "update", "-qq"], folder)
        return _run(command, folder)
    raise NotToBeHad(f"no prometheus on PATH, and `{' '.join(command)}`: {' '.join(done.stderr.split())[-200:]}")


@dataclass
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API. Raises AssertionError with its words on an error."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()[:500]}") from None

    def values(self, query: str) -> list[float]:
        """An instant query's numbers, those that are none (0/0) left out."""
        found = [float(sample["value"][1]) for sample in self.ask("query", query=query)["result"]]
        return [value for value in found if value == value]


@contextmanager
def prometheus(folder: Path, program: Path, target: str) -> Iterator[Prometheus]:
    """The project's own configuration and rules, with another target and a look more often."""
    document = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    document["global"] |= {"scrape_interval": "700ms", "scrape_timeout": "700ms", "evaluation_interval": "500ms"}
    document["rule_files"] = [str(MONITORING / "rules.yml")]
    document["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    port = free_port()
    command = [
        str(program), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = Prometheus(f"http://127.0.0.1:{port}")
            _until_ready(found, process, folder / "prometheus.log")
            yield found
        finally:
            process.terminate()
            process.wait(timeout=20)


def _until_ready(found: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{found.url}/-/ready", timeout=5).close()
            return
        except OSError:
            text = log.read_text(errors="replace")
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)


if __name__ == "__main__":
    print(programs(Path(sys.argv[1])))
