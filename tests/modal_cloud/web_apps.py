"""Deploys and questions `apps.web_app` from tests."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import modal
import pytest
import requests
from modal._utils.async_utils import synchronize_api
from modal.client import _Client
from modal_proto import api_pb2

from tests.local_cloud import LocalCloud

T = TypeVar("T")
_MODULE = "tests.modal_cloud.apps.web_app"


@dataclass
class WebApp:
    cloud: LocalCloud
    name: str

    def deploy(self, version: str = "1", strategy: str = "rolling", **declared: Any) -> None:
        document = json.dumps({"name": self.name, "version": version, **declared})
        if self._of_this_session:
            # Faster than a process; the module declares the app anew each time.
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WEB_APP", document)
                patch.delitem(sys.modules, _MODULE, raising=False)
                importlib.import_module(_MODULE).app.deploy(strategy=strategy)
            return
        self.cloud.modal("deploy", "--strategy", strategy, "-m", _MODULE, env={"WEB_APP": document})

    @property
    def _of_this_session(self) -> bool:
        return self.cloud.env["MODAL_SERVER_URL"] == os.environ.get("MODAL_SERVER_URL")

    @property
    def web(self) -> Any:
        return modal.Cls.from_name(self.name, "Web")().serve

    @property
    def server(self) -> modal.Server:
        return modal.Server.from_name(self.name, "Serve")

    def url(self, ingress: str) -> str:
        return self.web.get_web_url() if ingress == "web" else self.server.get_url()

    def autoscaler(self, ingress: str) -> Any:
        return self.web.autoscaler if ingress == "web" else self.server.autoscaler

    def containers(self) -> set[str]:
        """Ids of all containers of the app that exist. Of the session's cloud only."""
        return {task.task_id for task in _tasks() if task.app_description == self.name}

    def stop(self) -> None:
        if self._of_this_session:
            _stop(self.name)
        else:
            self.cloud.modal("app", "stop", "--yes", self.name)


@synchronize_api
async def _tasks() -> list[api_pb2.TaskStats]:
    """What `modal container list` asks for, without starting its process for every look."""
    client = await _Client.from_env()
    return list((await client._stub.TaskList(api_pb2.TaskListRequest())).tasks)


@synchronize_api
async def _stop(name: str) -> None:
    """What `modal app stop` asks for. No-op when it is stopped."""
    client = await _Client.from_env()
    found = await client._stub.AppGetByDeploymentName(api_pb2.AppGetByDeploymentNameRequest(name=name))
    if found.app_id:
        await client._stub.AppStop(api_pb2.AppStopRequest(app_id=found.app_id))


@synchronize_api
async def stop_container(task_id: str) -> None:
    """What `modal container stop` asks for."""
    client = await _Client.from_env()
    await client._stub.ContainerStop(api_pb2.ContainerStopRequest(task_id=task_id))


def ask(url: str, path: str = "/", timeout: float = 30, **options: Any) -> dict[str, Any]:
    response = requests.get(url + path, timeout=timeout, **options)
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    return response.json()


def answers(url: str) -> dict[str, Any] | None:
    """What a server says that may not be up (503)."""
    response = requests.get(url, timeout=30)
    return response.json() if response.status_code == 200 else None


def number_of(app: WebApp, wanted: int) -> set[str]:
    """Ids of its containers once there are so many."""
    eventually(lambda: len(app.containers()) == wanted)
    return app.containers()


def eventually(what: Callable[[], T], within: float = 15, pause: float = 0.1) -> T:
    """The first true value of `what`."""
    deadline = time.monotonic() + within
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(pause)
