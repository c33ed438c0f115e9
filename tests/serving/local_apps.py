"""The two Modal apps on the local cloud, for the tests that deploy them: recipes, deploys, questions, processes."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.params import PARAMS_VARIABLE, Scaling, ServerParams
from serving.recipe import Recipe, kernel_key, load_recipe
from tests.local_cloud import LocalCloud
from tests.serving.conftest import API_KEY, APP, DICT, MICRO, REPO_ROOT
from tests.serving.quick_deploy import deploy


def recipe_of_the_test(flags: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    """The tiny recipe on the volumes and secrets of these tests; `changes` merge into its sections."""
    document = load_recipe(REPO_ROOT / "recipes" / "tiny-glm-local.yaml").to_json()
    document["app"] = APP
    document["model"]["repo"] = MICRO
    document["engine"]["environment"]["STANDIN_SPEED"] = "100"
    for kind in ("weights", "kernels"):
        document["volumes"][kind]["name"] = f"{APP}-{kind}"
    document["secrets"]["huggingFace"]["name"] = f"{APP}-hf"
    document["secrets"]["apiKey"]["name"] = f"{APP}-key"
    document["engine"]["environment"].update(changes.pop("environment", {}))
    for section, change in changes.items():
        document[section] = {**document[section], **change} if isinstance(change, dict) else change
    return Recipe.model_validate(document).with_engine_args(flags or {})


def serving_params(
    commit: str, release: str, flags: dict[str, Any] | None = None, recipe: Recipe | None = None, **more: Any
) -> str:
    """The document that the serving app reads."""
    return ServerParams(
        app=more.pop("app", APP),
        release=release,
        jobs_dict=DICT,
        recipe=recipe or recipe_of_the_test(flags),
        commit=commit,
        # A flag that the engine refuses must not look like other kernels.
        kernel_key=kernel_key(recipe_of_the_test(), commit),
        scaling=more.pop("scaling", Scaling(max_containers=2, target_concurrency=8)),
        **more,
    ).model_dump_json(by_alias=True)


def serve(cloud: LocalCloud, commit: str, release: str, **more: Any) -> str:
    """Deploys the serving app with the modal CLI; returns what that printed."""
    environment = {PARAMS_VARIABLE: serving_params(commit, release, **more)}
    return cloud.modal("deploy", "-m", "serving.apps.server", env=environment).stdout


def serve_quickly(cloud: LocalCloud, commit: str, release: str, **more: Any) -> None:
    """The same deploy by the SDK, in a process forked from one that has it imported."""
    deploy(cloud.env, serving_params(commit, release, **more))


def url_of(app: str, ingress: str) -> str:
    import modal

    url = (
        modal.Server.from_name(app, "Server").get_url()
        if ingress == "server"
        else modal.Cls.from_name(app, "Server")().serve.get_web_url()
    )
    assert url
    return str(url)


def report_of(key: str, seconds: float = 30) -> dict[str, Any]:
    """What a container wrote into the stack's Dict under `key`, once it is there."""
    import modal

    reports = modal.Dict.from_name(DICT, create_if_missing=True)
    deadline = time.monotonic() + seconds
    while not (report := reports.get(key)):
        assert time.monotonic() < deadline, f"no {key} within {seconds} s"
        time.sleep(0.1)
    return report


@dataclass(frozen=True)
class Reply:
    """What one chat completion came to. Status 0: no HTTP answer; times are of time.time()."""

    status: int
    text: str
    release: str
    asked: float
    answered: float


def chat(url: str, key: str = API_KEY, timeout: float = 90) -> Reply:
    body = {"model": "tiny-glm", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 64}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    asked = time.time()
    release = ""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as response:
            document = json.load(response)
            status, text = response.status, document["choices"][0]["message"]["content"]
            release = document["metadata"]["weight_version"]
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode(errors="replace")
    except OSError as error:
        status, text = 0, str(error)
    return Reply(status, text, release, asked, time.time())


def ask(url: str, key: str = API_KEY) -> tuple[int, str]:
    """Status and text of one chat completion; 0 where the connection failed."""
    reply = chat(url, key)
    return reply.status, reply.text


class Client(threading.Thread):
    """Asks again and again, with a pause, until it is told to stop. `replies` in the order of asking."""

    def __init__(self, url: str, pause: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.replies: list[Reply] = []
        self._url, self._pause = url, pause
        self._stop_asking = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_asking.is_set():
            self.replies.append(chat(self._url))
            self._stop_asking.wait(self._pause)

    def stop(self) -> list[Reply]:
        self._stop_asking.set()
        self.join(100)
        assert not self.is_alive(), "a request is still without an answer"
        return self.replies


Member = tuple[int, int]
"""Pid as the host sees it, and start time in clock ticks: together never used twice."""


class Processes(threading.Thread):
    """Watches /proc: which processes every container has had, and how its engine's are called."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._members: dict[str, set[Member]] = {}
        self._own = os.readlink("/proc/self/ns/pid")
        self._stop_watching = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_watching.wait(0.1):
            self.look()

    def stop(self) -> None:
        self._stop_watching.set()
        self.join(10)

    def look(self) -> None:
        """A container's processes share a pid namespace; one of them at least has the task id in its environment."""
        by_namespace: dict[str, set[Member]] = {}
        tasks: dict[str, str] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                namespace = os.readlink(entry / "ns/pid")
                if namespace == self._own:
                    continue
                by_namespace.setdefault(namespace, set()).add((int(entry.name), _started(entry)))
                found = (entry / "environ").read_bytes().partition(b"MODAL_TASK_ID=")[2].partition(b"\0")[0]
                if found:
                    tasks[namespace] = found.decode()
            except OSError:
                continue  # it ended while we looked
        for namespace, task in tasks.items():
            self._members.setdefault(task, set()).update(by_namespace[namespace])

    def left(self, task: str) -> list[int]:
        """Pids of the container's processes that still exist, zombies included."""
        assert self._members.get(task), f"container {task} was never seen"
        return [pid for pid, started in self._members[task] if _exists(pid, started)]

    def wait_gone(self, task: str, seconds: float) -> None:
        """Until nothing of the container is left."""
        deadline = time.monotonic() + seconds
        while left := self.left(task):
            if time.monotonic() > deadline:
                told = [Path(f"/proc/{pid}/stat").read_text()[:60] for pid in left if Path(f"/proc/{pid}").exists()]
                raise AssertionError(f"after {seconds} s container {task} still has {told}")
            time.sleep(0.05)

    def engine(self, task: str) -> tuple[int, int]:
        """Pids of the engine's server and of its scheduler."""
        self.look()
        server = scheduler = 0
        for pid in self.left(task):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"sglang" not in words or b"--model-path" not in words:
                continue
            if Path(f"/proc/{pid}/comm").read_text().startswith("sglang::"):
                scheduler = pid
            else:
                server = pid
        assert server, f"container {task} has no engine"
        assert scheduler, f"container {task} has no scheduler"
        return server, scheduler


def _started(entry: Path) -> int:
    return int((entry / "stat").read_text().rpartition(")")[2].split()[19])


def _exists(pid: int, started: int) -> bool:
    try:
        return _started(Path(f"/proc/{pid}")) == started
    except OSError:
        return False
