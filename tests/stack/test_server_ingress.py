"""The `server` ingress: the same life cycle behind Modal's low-latency servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stack.project import Project

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    project = new_project("direct")
    project.configure("ingress", "server")
    project.configure("scaling.minContainers", "1")
    return project


def test_up_ends_in_a_served_answer(project: Project) -> None:
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert project.ask().status_code == 200
    assert project.ask(key="wrong").status_code == 401
    assert project.up().steps == {}


def test_even_the_target_concurrency_changes_in_place(project: Project) -> None:
    before = project.containers()
    project.configure("scaling.targetConcurrency", "10")
    outcome = project.up()
    assert outcome.steps == {"app": "update"}, outcome.text
    assert project.containers() == before
    live = "import modal; print(modal.Server.from_name('direct', 'Server').autoscaler.settings().target_concurrency)"
    assert float(project.python(live)) == 10


def test_scaling_by_hand_is_drift_and_mended(project: Project) -> None:
    by_hand = "autoscaler.update(max_containers=7, target_concurrency=3)"
    project.python(f"import modal; modal.Server.from_name('direct', 'Server').{by_hand}")
    words = "the autoscaler was set by hand: maxContainers 7 instead of 2, targetConcurrency 3 instead of 10"
    assert words in project.refresh().text
    outcome = project.up()
    assert outcome.steps == {"app": "update"}, outcome.text
    assert "autoscaler updated in place (maxContainers 2, targetConcurrency 10)" in outcome.text


def test_an_app_stopped_by_hand_is_drift_and_mended(project: Project) -> None:
    project.modal("app", "stop", "direct", "--yes")
    project.refresh()
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert set(outcome.steps) == {"app", "smoke-test", "release-record"}, outcome.text
    assert project.ask().status_code == 200
