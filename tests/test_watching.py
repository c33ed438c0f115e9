"""What `python -m local status`, `trace`, `logs`, `watch` and `run` show and do."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local.control_api import ask
from local.faults import Faults
from local.installation import Installation
from local.status_command import page_url
from local.trace_command import records
from tests.browser import browser
from tests.browser import shown as page_shown
from tests.leaks import SecretSearch
from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud

APP = """
import modal, time
app = modal.App("watched")
files = modal.Volume.from_name("watched-files", create_if_missing=True, version=2)
notes = modal.Dict.from_name("watched-notes", create_if_missing=True)
key = modal.Secret.from_dict({"KEY": "as-secret-as-can-be"})
@app.function(volumes={"/files": files}, secrets=[key], gpu="H200:8", max_containers=1, scaledown_window=2)
def work(x):
    with open("/files/one", "w") as file:
        file.write("x" * 1500)
    files.commit()
    while not notes.get("go"):
        time.sleep(0.5)
    return x
"""

LOOKUP = """
import modal
try:
    modal.Secret.from_name("none-such").hydrate()
except modal.exception.NotFoundError:
    pass
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """One of its own: everything in it is looked at, and faults stay ordered."""
    instance = LocalCloud(tmp_path_factory.mktemp("cloud"))
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def shown(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Of a cloud with one call that runs, one that waits, and a fault ordered in the cloud and in the Hub."""
    file = tmp_path_factory.mktemp("app") / "watched_app.py"
    file.write_text(APP)
    # By `run`, from the app's own folder: it takes the cloud that is there.
    done = subprocess.run(
        [sys.executable, "-m", "local", "run", "--dir", str(cloud.dir), "--", "modal", "deploy", file.name],
        cwd=file.parent,
        env={"PATH": os.environ["PATH"], "HOME": str(file.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "local:" not in done.stdout
    assert "started" not in done.stdout + done.stderr
    cloud.python(
        "import modal, time; work = modal.Function.from_name('watched', 'work'); work.spawn(1); work.spawn(2)\n"
        "files = modal.Volume.from_name('watched-files')\n"
        "while not files.listdir('/'): time.sleep(0.05)\n"
        "queue = modal.Queue.from_name('watched-queue', create_if_missing=True)\n"
        "queue.put_many([1, 2]); queue.put('a value that is queued', partition='other')\n"
    )
    cloud.python(LOOKUP)
    faults = Faults.of(cloud.dir)
    faults.gpus("H200", total=12)
    faults.hub("429", times=3)
    return Installation.open(cloud.dir)


def local(cloud: LocalCloud, *arguments: str, check: bool = True) -> str:
    return cloud.run([sys.executable, "-m", "local", *arguments], check=check).stdout


def test_status_in_words_and_for_programs(cloud: LocalCloud, shown: Installation) -> None:
    text = local(cloud, "status")
    for told in (
        "watched v1, deployed: 1 container(s), 1 queued, 1 running",
        "watched/work v1 ready for",
        "1 input(s), H200:8",
        "1 running of 1",
        "watched-files: 1 file(s), 1.5 kB",
        "watched-notes: 0 entries",
        "watched-queue: 3 item(s) in 2 partitions",
        "H200: 8 of 12 in use",
        "gpus gpu=H200 total=12: happened 0 time(s)",
        "hub-1 429",
    ):
        assert told in text, text
    told = json.loads(local(cloud, "status", "--json"))
    assert told["running"] is True
    (app,) = [app for app in told["apps"] if app["name"] == "watched"]
    (container,) = [each for each in told["containers"] if each["name"] == "watched/work"]
    assert (app["queued"], app["running"], container["gpu"], container["inputs"]) == (1, 1, "H200:8", 1)
    assert told["process"]["memory_bytes"] > 10e6
    (queue,) = told["queues"]
    assert (queue["name"], queue["environment"], queue["items"], queue["partitions"]) == ("watched-queue", "main", 3, 2)


def test_trace_of_the_past_and_of_what_comes(cloud: LocalCloud, shown: Installation) -> None:
    lines = local(cloud, "trace", "--rpc", "Secret*", "--failed").splitlines()
    assert [line.split()[1:5:3] + line.split()[-2:] for line in lines[-1:]] == [
        ["SecretGetOrCreate", "NOT_FOUND", "NOT_FOUND", "client"]
    ]
    callers = {record["caller"].split()[0] for record in records(shown, "VolumeCommit")}
    assert callers == {"watched/work"}
    before = max(record["number"] for record in records(shown, last=1))
    following = subprocess.Popen(
        [sys.executable, "-m", "local", "trace", "-f", "-n", "0", "--rpc", "DictUpdate", "--json"],
        env=cloud.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Again and again: it is not known when the follower has begun to listen.
    writing = subprocess.Popen([sys.executable, "-c", WRITER], env=cloud.env)
    try:
        assert following.stdout is not None
        assert select.select([following.stdout], [], [], 60)[0], "the trace shows nothing"
        record = json.loads(following.stdout.readline())
        assert record["number"] > before
        assert (record["caller"], record["rpc"], record["status"]) == ("client", "DictUpdate", "OK")
        assert 0 < record["milliseconds"] < 10_000
        assert set(record) == {"number", "at", "task_id", "rpc", "milliseconds", "status", "caller"}
    finally:
        for process in (following, writing):
            process.terminate()
            process.wait(10)


WRITER = """
import modal, time
other = modal.Dict.from_name("watched-other", create_if_missing=True)
while True:
    other["key"] = "a value that is nobody's business"
    time.sleep(0.05)
"""


def test_nothing_secret_is_shown(cloud: LocalCloud, shown: Installation) -> None:
    search = SecretSearch(
        {
            "the app's secret": "as-secret-as-can-be",
            "the token": shown.token_secret,
            "a dict's value": "a value that is nobody's business",
            "a queue's value": "a value that is queued",
        }
    )
    for command in (["status"], ["status", "--json"], ["trace", "-n", "5000", "--json"], ["logs", "--json"], ["watch"]):
        search.text(" ".join(command), local(cloud, *command))
    assert search.searched > 10_000
    assert search.found == []


def test_the_log_is_json_lines_and_text_for_people(cloud: LocalCloud, shown: Installation) -> None:
    lines = [json.loads(line) for line in local(cloud, "logs", "--json").splitlines()]
    ready = [
        line for line in lines if line["message"].startswith("watched/work: container") and "ready" in line["message"]
    ]
    assert [(line["level"], line["app"], line["event"]) for line in ready] == [("INFO", "watched/work", "ready")]
    assert ready[0]["container"].startswith("ta-")
    assert f" INFO {ready[0]['from']} {ready[0]['message']}" in local(cloud, "logs")


def test_the_page_only_lets_look_and_only_who_has_its_address(shown: Installation) -> None:
    url, _, token = page_url(shown).partition("#")
    base = url.removesuffix("/watch")
    page = requests.get(url, timeout=10)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert token not in page.text
    assert "//" not in page.text.replace("http://", "").replace("://", "").split("<script")[0]  # nothing from elsewhere
    bearer = {"Authorization": f"Bearer {token}"}
    for path in ("/control/overview", "/control/trace"):
        assert requests.get(base + path, timeout=10).status_code == 401
        assert requests.get(base + path, headers=bearer, timeout=10).status_code == 200
        assert requests.post(base + path, headers=bearer, timeout=10).status_code == 401
    for path in ("/control/faults", "/control/clock", "/status"):
        assert requests.get(base + path, headers=bearer, timeout=10).status_code == 401
    assert ask(f"{base}/control/trace?after=0", shown.token_secret, "GET")["records"]


def test_the_page_in_a_browser(cloud: LocalCloud, shown: Installation, tmp_path: Path) -> None:
    if browser() is None:
        pytest.skip("NOT TESTED: no Chromium on this machine (Debian's package `chromium`)")
    cloud.python(LOOKUP)  # the page has the last 300 RPCs, and the app's own go on all the time
    texts = (
        "live",
        "watched/work",
        "watched-files",
        "watched-queue",
        "H200:8",
        "gpu=H200 total=12",
        "SecretGetOrCreate",
        "NOT_FOUND",
    )
    _, complaints = asyncio.run(page_shown(page_url(shown), texts, tmp_path))
    assert complaints == []


def test_run_is_the_command_itself(cloud: LocalCloud) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return cloud.run([sys.executable, "-m", "local", "run", "--", *words], check=False)

    shell = run("sh", "-c", "echo $MODAL_SERVER_URL; echo oops >&2; exit 7")
    assert (shell.returncode, shell.stdout) == (7, f"{cloud.env['MODAL_SERVER_URL']}\n")
    assert shell.stderr == "oops\n"
    assert run("sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    missing = run("no-such-command")
    assert (missing.returncode, missing.stderr) == (
        127,
        "local: no-such-command: no such command; typed was: no-such-command\n",
    )
    assert "nothing to run" in run().stderr
