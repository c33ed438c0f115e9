"""Deployments and their history through the public SDK and CLI."""

from __future__ import annotations

import json
import time
from subprocess import CompletedProcess
from uuid import uuid4

import modal
import pytest
from modal.exception import InvalidError, NotFoundError

from tests.local_cloud import LocalCloud

pytestmark = pytest.mark.cloud


@pytest.fixture
def name() -> str:
    return f"app-{uuid4().hex[:8]}"


def deploy(name: str, version: str, **options: str) -> None:
    """From this process; functions travel by value."""
    app = modal.App(name)
    image = modal.Image.debian_slim().env({"VERSION": version})

    def answer() -> str:
        import os

        return os.environ["VERSION"]

    def site() -> None: ...

    app.function(image=image, serialized=True, name="version")(answer)
    web = modal.web_server(8000)(site)
    scaling = {"min_containers": 0, "max_containers": 3, "scaledown_window": 20}
    app.function(image=image, serialized=True, name="site", **scaling)(web)  # type: ignore[arg-type]
    if version != "2":
        app.function(image=image, serialized=True, name="only_in_odd_versions")(answer)
    app.deploy(**options)  # type: ignore[arg-type]


def deploy_by_cli(cloud: LocalCloud, name: str, version: str, check: bool = True) -> CompletedProcess[str]:
    variables = {"APP_NAME": name, "VERSION": version}
    return cloud.modal("deploy", "-m", "tests.modal_cloud.apps.versions_app", check=check, env=variables)


def history(cloud: LocalCloud, name: str) -> list[str]:
    listed = json.loads(cloud.modal("app", "history", name, "--json").stdout)
    return [entry["version"] for entry in listed]


def state(cloud: LocalCloud, name: str) -> str:
    """The line that `modal app list` has on the app."""
    return next(line for line in cloud.modal("app", "list").stdout.splitlines() if name in line)


def test_redeploy_keeps_ids_and_serves_the_new_version(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    version = modal.Function.from_name(name, "version")
    assert version.remote() == "1"
    ids = modal.App.lookup(name).app_id, version.object_id
    deploy(name, "3", strategy="recreate")
    assert version.remote() == "3"
    found = modal.Function.from_name(name, "version").hydrate()
    assert (modal.App.lookup(name).app_id, found.object_id) == ids


def test_rolling_deploy_switches_without_a_gap(cloud: LocalCloud, name: str) -> None:
    deploy_by_cli(cloud, name, "1")
    version = modal.Function.from_name(name, "version")
    assert version.remote() == "1"
    deploy_by_cli(cloud, name, "3")
    answers = []
    deadline = time.monotonic() + 20
    while not answers or answers[-1] != "3":
        assert time.monotonic() < deadline, answers
        answers.append(version.remote())
    assert set(answers) <= {"1", "3"}


def test_history_rollback_and_rollover(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1", tag="first")
    deploy(name, "2", tag="second")
    with pytest.raises(NotFoundError, match="only_in_odd_versions"):
        modal.Function.from_name(name, "only_in_odd_versions").hydrate()
    cloud.modal("app", "rollback", name, "--strategy", "recreate")
    assert modal.Function.from_name(name, "version").remote() == "1"
    assert modal.Function.from_name(name, "only_in_odd_versions").remote() == "1"
    cloud.modal("app", "rollback", name, "v2", "--strategy", "recreate")
    assert modal.Function.from_name(name, "version").remote() == "2"
    assert history(cloud, name) == ["v4", "v3", "v2", "v1"]
    assert "v9" in cloud.modal("app", "rollback", name, "v9", check=False).stderr
    cloud.modal("app", "rollover", name)
    assert len(history(cloud, name)) == 5


def test_stop_and_deploy_again(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    first = modal.App.lookup(name).app_id
    call = modal.Function.from_name(name, "version").spawn()
    call.get(timeout=20)
    assert "deployed" in state(cloud, name)
    cloud.modal("app", "stop", name, "--yes")
    with pytest.raises(NotFoundError, match=name):
        modal.Function.from_name(name, "version").hydrate()
    assert "stopped" in state(cloud, name)
    again = cloud.modal("app", "stop", name, "--yes", check=False)
    assert "already stopped" in again.stdout + again.stderr
    # Its result is still there.
    assert modal.FunctionCall.from_id(call.object_id).get(timeout=0) == "1"
    deploy(name, "3")
    assert modal.App.lookup(name).app_id != first
    assert modal.Function.from_name(name, "version").remote() == "3"


def test_url_of_a_web_endpoint_stays(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    url = modal.Function.from_name(name, "site").get_web_url()
    assert url is not None
    assert url.startswith("http://127.0.0.1:")
    deploy(name, "3")
    assert modal.Function.from_name(name, "site").get_web_url() == url
    cloud.modal("app", "stop", name, "--yes")
    deploy(name, "1")
    assert modal.Function.from_name(name, "site").get_web_url() == url


def test_autoscaler_settings_are_overridden_until_the_next_deploy(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    autoscaler = modal.Function.from_name(name, "site").autoscaler
    before = autoscaler.settings()
    assert (before.min_containers, before.max_containers, before.scaledown_window) == (0, 3, 20)
    changed = autoscaler.update(max_containers=5)
    assert (changed.min_containers, changed.max_containers, changed.scaledown_window) == (0, 5, 20)
    autoscaler.update(scaledown_window=30)
    assert modal.Function.from_name(name, "site").autoscaler.settings().max_containers == 5
    with pytest.raises(InvalidError, match="must not exceed"):
        autoscaler.update(min_containers=9)
    assert autoscaler.update(max_containers=None).max_containers is None
    deploy(name, "3")
    assert modal.Function.from_name(name, "site").autoscaler.settings() == before


def test_an_image_that_can_not_be_built_fails_the_deploy_and_leaves_the_app(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    failed = deploy_by_cli(cloud, name, "unbuildable", check=False)
    assert failed.returncode != 0
    assert "no stand-in for this image" in failed.stdout + failed.stderr
    assert modal.Function.from_name(name, "version").remote() == "1"
    assert history(cloud, name) == ["v1"]


def test_a_failed_first_deploy_leaves_nothing(cloud: LocalCloud, name: str) -> None:
    assert deploy_by_cli(cloud, name, "unbuildable", check=False).returncode != 0
    with pytest.raises(NotFoundError, match=name):
        modal.App.lookup(name)


def test_ephemeral_run(cloud: LocalCloud) -> None:
    done = cloud.modal("run", "-m", "tests.modal_cloud.apps.versions_app", "--word", "hi", env={"VERSION": "7"})
    assert "hi from version 7" in done.stdout
    running = [line for line in cloud.modal("app", "list").stdout.splitlines() if "ephemeral" in line]
    assert not running


def test_app_info_and_lookup(cloud: LocalCloud, name: str) -> None:
    deploy(name, "1")
    info = modal.App.lookup(name).info()
    assert set(info.functions) == {"version", "site", "only_in_odd_versions"}
    assert info.lifecycle.version == 1
    with pytest.raises(NotFoundError):
        modal.App.lookup(f"{name}-not")


def test_deploy_from_a_program(cloud: LocalCloud, name: str) -> None:
    done = cloud.python(
        f"""
import modal
app = modal.App({name!r})

@app.function(serialized=True, gpu=["B200:8", "H200:8"])
def f(x):
    return x + 1

app.deploy()
print(f.remote(1))
"""
    )
    assert done.stdout.strip().endswith("2")
    info = modal.Function.from_name(name, "f").info()
    assert ("B200", 8) in [tuple(gpu) for gpu in info.gpus]
    modal.App.lookup(name).stop()
    with pytest.raises(NotFoundError):
        modal.App.lookup(name)
