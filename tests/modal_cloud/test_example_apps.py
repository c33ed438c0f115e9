"""The apps of examples/modal_apps: deployed by `modal deploy` as they are, all five in one cloud, and used."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import modal
import pytest
import requests

from local.clock_command import Clock
from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import eventually

pytestmark = pytest.mark.cloud
APPS = Path(__file__).parents[2] / "examples" / "modal_apps"
NAMES = {
    "server_with_subprocess.py": "example-server-with-subprocess",
    "chat_asgi.py": "example-chat",
    "cron_with_dict.py": "example-cron",
    "volume_pipeline.py": "example-pipeline",
    "class_with_parameters.py": "example-models",
}
_DEPLOY = """
import sys
from modal.__main__ import main
for path in sys.argv[1:]:
    sys.argv = ["modal", "deploy", path]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@dataclass
class Deployed:
    """A cloud of their own, since its clock is moved on, and the SDK's client for it."""

    cloud: LocalCloud
    client: modal.Client

    def function(self, app: str, name: str) -> modal.Function:
        return modal.Function.from_name(app, name, client=self.client)

    def url(self, app: str, name: str) -> str:
        return str(self.function(app, name).get_web_url())

    def deploy(self, *files: str) -> None:
        """`modal deploy FILE` each, in one process."""
        paths = [str(APPS / name) for name in files]
        done = self.cloud.run([sys.executable, "-c", _DEPLOY, *paths])
        assert done.stdout.count("App deployed") == len(files), done.stdout


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    cloud = LocalCloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MODAL_SERVER_URL", cloud.env["MODAL_SERVER_URL"])
            client = modal.Client.from_credentials(cloud.env["MODAL_TOKEN_ID"], cloud.env["MODAL_TOKEN_SECRET"])
        apps = Deployed(cloud, client)
        apps.deploy(*NAMES)
        yield apps
    finally:
        cloud.stop()


def test_every_app_is_deployed_here() -> None:
    assert {path.name for path in APPS.glob("*.py")} == set(NAMES)


def test_a_server_in_a_subprocess(deployed: Deployed) -> None:
    app = NAMES["server_with_subprocess.py"]
    deployed.function(app, "publish").remote("page.html", "good morning")
    response = requests.get(f"{deployed.url(app, 'serve')}/page.html", timeout=30)
    assert (response.status_code, response.text) == (200, "good morning")
    assert requests.get(f"{deployed.url(app, 'serve')}/none.html", timeout=30).status_code == 404


def test_a_chat_that_streams(deployed: Deployed) -> None:
    address = deployed.url(NAMES["chat_asgi.py"], "web")
    assert requests.get(f"{address}/health", timeout=30).json() == {"status": "ok"}
    question = {"messages": [{"role": "user", "content": "how are you"}]}
    with requests.post(f"{address}/chat", json=question, stream=True, timeout=30) as response:
        lines = [line for line in response.iter_lines(decode_unicode=True) if line]
    assert lines[-1] == "data: [DONE]"
    text = "".join(json.loads(line.removeprefix("data: "))["delta"] for line in lines[:-1])
    assert text == "You said 3 words, the last one being you. "
    assert len(lines) == 10
    assert requests.post(f"{address}/chat", json={}, timeout=30).status_code == 400

    async def two_turns() -> list[str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/ws") as socket:
            answers = []
            for question in ("one", "one two"):
                await socket.send_str(question)
                answers.append(await socket.receive_str(timeout=20))
            return answers

    assert asyncio.run(two_turns()) == [
        f"You said {n} words, the last one being {w}. " for n, w in ((1, "one"), (2, "two"))
    ]


def test_a_schedule_that_fills_a_dict(deployed: Deployed) -> None:
    app = NAMES["cron_with_dict.py"]
    clock = Clock.of(deployed.cloud.dir)
    fired = clock.advance(24 * 3600)
    assert [firing["function"] for firing in fired if firing["app"] == app] == ["measure", "measure"]
    local_hours = {
        datetime.fromtimestamp(firing["at"], UTC).astimezone(ZoneInfo("Europe/Berlin")).hour for firing in fired
    }
    assert local_hours == {6, 18}
    shown = requests.get(f"{deployed.url(app, 'latest')}?limit=1", timeout=30).json()
    assert shown["count"] == 2
    assert len(shown["latest"]) == 1


def test_a_pipeline_over_a_volume(deployed: Deployed, tmp_path: Path) -> None:
    volume = modal.Volume.from_name("example-pipeline", client=deployed.client)
    text = tmp_path / "text"
    text.write_text("tea tea tea\nmilk tea\nmilk sugar\n")
    with volume.batch_upload() as upload:
        upload.put_file(text, "/text")
    found = deployed.function(NAMES["volume_pipeline.py"], "pipeline").remote("text", 2)
    assert [tuple(pair) for pair in found] == [("tea", 4), ("milk", 2), ("sugar", 1)]
    assert {entry.path for entry in volume.listdir("/pieces")} >= {"pieces/000.txt", "pieces/001.json"}


def test_a_class_with_parameters(deployed: Deployed) -> None:
    embedder = modal.Cls.from_name(NAMES["class_with_parameters.py"], "Embedder", client=deployed.client)
    small: Any = embedder(model="small", dimensions=2)
    vector = small.embed.remote("hello")
    assert len(vector) == 2
    assert embedder(model="large").embed.remote("hello")[:2] != vector
    before = small.container.remote()
    assert before == small.container.remote()
    # Its containers follow the app's next version.
    deployed.deploy("class_with_parameters.py")
    eventually(lambda: small.container.remote() != before, within=60)
    assert small.embed.remote("hello") == vector
