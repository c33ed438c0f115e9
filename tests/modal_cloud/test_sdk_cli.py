"""The modal CLI's commands, one after the other on one deployed app."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import modal
import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.modal_command import modal_command
from tests.modal_cloud.web_apps import eventually

pytestmark = pytest.mark.cloud
APP = str(Path(__file__).parent / "apps" / "cli_app.py")


@pytest.fixture(scope="module")
def server_url(cloud: LocalCloud) -> str:
    """Of the deployed app's server, which is up."""
    modal_command("deploy", APP)
    url = modal.Server.from_name("cli-app", "Files").get_url()
    assert url
    eventually(lambda: requests.get(url, timeout=10).status_code == 200, within=60)
    return url


@pytest.fixture
def name() -> str:
    return f"cli-{uuid4().hex[:8]}"


def listed(*command: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(modal_command(*command, "--json"))
    return rows


def test_run_of_a_function_and_of_an_entrypoint(cloud: LocalCloud) -> None:
    printed = modal_command("run", f"{APP}::hello", "--name", "you", "--times", "2")
    assert "hello you hello you" in printed
    assert "shipped 1 True ['__init__.py', 'backend.py']" in printed
    # The image's build: what it would have run is said, and whether it is missed.
    assert "RUN exit 1" in printed
    assert "not run: aiohttp>=3: containers have aiohttp" in printed
    assert "not run: no-such-package-anywhere is NOT there" in printed
    printed = modal_command("run", APP, "--name", "me")
    assert "hello me" in printed
    assert "returned me" in printed


def test_apps(server_url: str) -> None:
    assert "cli-app" in modal_command("app", "list")
    assert "cli-app" in modal_command("app", "info", "cli-app")
    eventually(lambda: "files of ta-" in modal_command("app", "logs", "cli-app"))
    versions = listed("app", "history", "cli-app")
    modal_command("app", "rollover", "cli-app")
    modal_command("app", "rollback", "cli-app", "v1")
    assert len(listed("app", "history", "cli-app")) == len(versions) + 2


def test_servers(server_url: str) -> None:
    server = "cli-app/Files"
    assert server_url in modal_command("server", "info", server)
    assert "files of ta-" in modal_command("server", "logs", server)
    modal_command("server", "autoscaler", "update", server, "--max-containers", "2", "--scaledown-window", "40")
    settings = modal_command("server", "autoscaler", "settings", server)
    assert any("Max Containers" in line and "2" in line for line in settings.splitlines())


def test_functions_and_urls(server_url: str) -> None:
    assert "hello" in modal_command("function", "info", "cli-app/hello")


def test_secrets(cloud: LocalCloud, name: str) -> None:
    modal_command("secret", "create", name, "A=1", "B=2")
    assert name in modal_command("secret", "list")
    modal_command("secret", "delete", name, "--yes")
    assert name not in modal_command("secret", "list")


def test_dicts_and_queues(cloud: LocalCloud, name: str) -> None:
    modal_command("dict", "create", name)
    modal.Dict.from_name(name)["a"] = 1
    assert modal_command("dict", "get", name, "a").strip() == "1"
    assert [list(map(str, row.values())) for row in listed("dict", "items", name)] == [["a", "1"]]
    assert name in modal_command("dict", "list")
    modal_command("dict", "clear", name, "--yes")
    modal_command("dict", "delete", name, "--yes")
    modal_command("queue", "create", name)
    modal.Queue.from_name(name).put_many([1, 2, 3])
    assert modal_command("queue", "len", name).strip() == "3"
    assert modal_command("queue", "peek", name, "2").split() == ["1", "2"]
    assert name in modal_command("queue", "list")
    modal_command("queue", "clear", name, "--yes")
    modal_command("queue", "delete", name, "--yes")
    assert name not in modal_command("dict", "list") + modal_command("queue", "list")


def test_environments_and_billing(cloud: LocalCloud, name: str) -> None:
    modal_command("environment", "create", name)
    assert name in modal_command("environment", "list")
    modal_command("environment", "delete", name, "--yes")
    assert "B200" in modal_command("billing", "rates").upper()
    assert "CPU" in modal_command("billing", "summary")
    assert "Description" in modal_command("billing", "report", "--for", "today")


@pytest.mark.parametrize(
    ("command", "rpc"),
    [
        ("app stats cli-app", "AppGetTimeRangeStats"),
        ("server stats cli-app/Files", "ServerGetTimeRangeStats"),
        ("server requests cli-app/Files", "ServerRequestFetch"),
        ("server metrics cli-app/Files", "MetricsGetInfo"),
        ("workspace members list", "WorkspaceMembersList"),
    ],
)
def test_commands_that_are_not_there_name_their_rpc(server_url: str, command: str, rpc: str) -> None:
    with pytest.raises(modal.exception.Error, match=f"{rpc} is not implemented by the local cloud"):
        modal_command(*command.split())


def test_containers_and_the_end_of_the_app(server_url: str) -> None:
    container = next(row for row in listed("container", "list") if row["app_name"] == "cli-app")["container_id"]
    assert "files of" in modal_command("container", "logs", container)
    with pytest.raises(modal.exception.Error, match="it runs no commands in running containers"):
        modal_command("container", "exec", container, "ls")
    modal_command("container", "stop", container, "--yes")
    eventually(lambda: container not in {row["container_id"] for row in listed("container", "list")})
    modal_command("app", "stop", "cli-app", "--yes")
    assert requests.get(server_url, timeout=10).status_code == 404
