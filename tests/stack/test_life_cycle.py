"""One stack from nothing to its end: each test goes on where the one before it stopped."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.leaks import SecretSearch
from tests.stack.project import Project

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    return new_project("cycle")


@pytest.fixture(scope="module", autouse=True)
def search(project: Project) -> Iterator[SecretSearch]:
    """Sees the arguments of everything that runs while these tests do."""
    found = SecretSearch({"Hub token": project.cloud.env["HF_TOKEN"]})
    with found.watching_arguments():
        yield found


def test_up_ends_in_a_served_answer(project: Project) -> None:
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert outcome.changes == {"create": 14}
    answer = project.ask()
    assert answer.status_code == 200
    assert "4" in answer.json()["choices"][0]["message"]["content"]
    outputs = project.outputs()
    assert outputs["opencode"]["provider"]["modal-test-local"]["options"] == {
        "baseURL": f"{outputs['url']}/v1",
        "apiKey": "{env:GLM_SERVING_TEST_LOCAL_KEY}",
    }


def test_a_wrong_key_gets_401(project: Project) -> None:
    assert project.ask(key="wrong").status_code == 401


def test_modals_own_command_line_shows_what_the_stack_made(project: Project) -> None:
    assert {row["description"] for row in json.loads(project.modal("app", "list", "--json"))} >= {
        "cycle",
        "cycle-pipeline",
    }
    assert {row["name"] for row in json.loads(project.modal("volume", "list", "--json"))} >= {
        "cycle-weights",
        "cycle-kernels",
    }
    assert {row["name"] for row in json.loads(project.modal("secret", "list", "--json"))} >= {"cycle-hf", "cycle-key"}
    folder = project.modal("volume", "ls", "cycle-weights", f"tiny-glm/{project.outputs()['commit']}")
    assert "model.safetensors.index.json" in folder


def test_a_second_up_changes_nothing(project: Project) -> None:
    outcome = project.up()
    assert outcome.steps == {}
    assert outcome.changes == {"same": 14}


def test_scaling_changes_in_place(project: Project) -> None:
    before = project.containers()
    assert before
    project.configure("scaling.maxContainers", "5")
    with project.under_load() as answers:
        outcome = project.up()
    assert outcome.steps == {"app": "update"}, outcome.text
    assert "autoscaler updated in place" in outcome.text
    assert before <= project.containers()
    assert set(answers) == {"200"}
    live = "import modal; print(modal.Cls.from_name('cycle', 'Server')().serve.autoscaler.settings().max_containers)"
    assert project.python(live) == "5"


def test_a_flag_makes_a_new_version_and_no_request_is_lost(project: Project) -> None:
    version, before = project.outputs()["version"], project.containers()
    project.configure("engineArgs.watchdog-timeout", "600")
    with project.under_load() as answers:
        outcome = project.up()
    assert set(outcome.steps) == {"pipeline", "app", "smoke-test", "release-record"}, outcome.text
    assert project.outputs()["version"] == version + 1
    assert not before & project.containers()
    assert set(answers) == {"200"}, Counter(answers)


def test_a_version_that_cannot_get_ready_takes_no_traffic(project: Project) -> None:
    project.use_recipe(STANDIN_FAULT="die-at-load")
    with project.under_load() as answers:
        outcome = project.up()
    assert outcome.failed
    assert "a replica did not start" in outcome.text
    assert "took no traffic and was rolled back" in outcome.text
    assert "Traceback" not in outcome.text
    assert set(answers) == {"200"}, Counter(answers)


def test_a_version_that_answers_wrongly_is_rolled_back(project: Project) -> None:
    project.use_recipe(STANDIN_FAULT="bad-answer")
    outcome = project.up()
    assert outcome.failed
    assert "it answered" in outcome.text
    assert "requests, this test's included, and was rolled back: version" in outcome.text
    assert "Traceback" not in outcome.text
    assert "4" in project.ask().json()["choices"][0]["message"]["content"]


def test_after_mending_the_next_up_converges(project: Project) -> None:
    project.use_recipe()
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert project.up().steps == {}
    assert project.ask().status_code == 200


def test_a_rotated_key_refuses_no_client_that_has_the_key_before(project: Project) -> None:
    before = project.outputs()["apiKey"]
    project.configure("apiKeyRotation", "1")
    with project.under_load() as answers:  # with the key before
        outcome = project.up()
    assert set(outcome.steps) == {"api-key", "api-secret", "app", "smoke-test", "release-record"}, outcome.text
    assert "the one before is accepted for 24 h more" in outcome.text
    assert set(answers) == {"200"}, Counter(answers)
    assert project.outputs()["apiKey"] != before
    assert project.ask().status_code == 200
    assert project.ask(key=before).status_code == 200


def test_the_key_before_can_be_ended_early(project: Project) -> None:
    now = project.outputs()["apiKey"]
    project.configure("apiKeyGrace", "0")
    project.configure("apiKeyRotation", "2")
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert "clients with the other get 401 (apiKeyGrace is 0)" in outcome.text
    assert project.ask(key=now).status_code == 401
    assert project.ask().status_code == 200


def test_a_deleted_marker_and_a_deleted_kernel_rebuild_only_the_kernels(project: Project) -> None:
    key = project.outputs()["kernelKey"]
    fetched = project.hub.shard_bytes()
    project.modal("volume", "rm", "cycle-kernels", f"{key}/.compiled-tiny-glm")
    kernel = next((project.cloud.dir / "volumes").glob(f"vo-*/{key}/deep_gemm/**/kernel.cubin"))
    kernel.unlink()
    refreshed = project.refresh()
    assert ".compiled-tiny-glm is missing" in refreshed.text
    assert f"{kernel.parent.name}/kernel.cubin is missing" in refreshed.text
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert set(outcome.steps) == {"kernels", "verification", "app"}, outcome.text
    assert project.hub.shard_bytes() == fetched
    assert project.up().steps == {}


def test_a_flipped_byte_on_the_volume_is_found_and_only_that_shard_fetched(project: Project) -> None:
    shard = f"tiny-glm/{project.outputs()['commit']}/model-00002-of-00005.safetensors"
    local = project.folder / "shard"
    project.modal("volume", "get", "cycle-weights", shard, str(local))
    content = bytearray(local.read_bytes())
    content[len(content) // 2] ^= 1
    local.write_bytes(content)
    before = project.hub.shard_bytes()
    project.modal("volume", "put", "--force", "cycle-weights", str(local), shard)
    assert "model-00002-of-00005.safetensors was written again" in project.refresh().text
    outcome = project.up()
    assert not outcome.failed, outcome.text
    assert "kernels" not in outcome.steps
    after = project.hub.shard_bytes()
    assert {name for name in after if after[name] > before.get(name, 0)} == {"model-00002-of-00005.safetensors"}
    assert project.up().steps == {}


def test_a_schedule_holds_from_the_first_up_on_and_what_it_sets_is_no_drift(project: Project) -> None:
    live = "import modal; print(modal.Cls.from_name('cycle', 'Server')().serve.autoscaler.settings().min_containers)"
    yesterday = datetime.now(UTC) - timedelta(1)
    for index, day in enumerate((yesterday - timedelta(1), yesterday)):
        project.configure(f"schedule.changes[{index}].cron", f"0 0 {day.day} {day.month} *")
        project.configure(f"schedule.changes[{index}].minContainers", str(index))
    project.configure("budget.maxMonthlyUsd", "100000")
    outcome = project.up()
    assert outcome.steps == {"app": "update", "schedule": "create", "spend-check": "create"}, outcome.text
    assert project.python(live) == "1"
    assert "set by hand" not in project.refresh().text
    assert project.up().steps == {}

    # By hand back to what is configured, which is not what the schedule has set.
    project.python("import modal; modal.Cls.from_name('cycle', 'Server')().serve.autoscaler.update(min_containers=0)")
    project.modal("app", "stop", "--yes", "cycle-schedule")
    refreshed = project.refresh()
    assert "the autoscaler was set by hand: minContainers 0 instead of 1" in refreshed.text
    assert "app cycle-schedule: is stopped" in refreshed.text
    assert project.up().steps == {"app": "update", "schedule": "create"}
    assert project.python(live) == "1"


def test_without_its_schedule_the_app_has_its_configured_scaling(project: Project) -> None:
    project.unset("schedule")
    project.unset("budget")
    outcome = project.up()
    assert outcome.steps == {"app": "update", "schedule": "delete", "spend-check": "delete"}, outcome.text
    live = "import modal; print(modal.Cls.from_name('cycle', 'Server')().serve.autoscaler.settings().min_containers)"
    assert project.python(live) == "0"
    assert "cycle-spend" not in project.modal("app", "list")


def test_no_secret_is_found_anywhere(project: Project, search: SecretSearch) -> None:
    project.ask()
    search.add("API key", project.outputs()["apiKey"])
    search.look_at_arguments()
    assert any(b"--served-model-name" in line for line in search.arguments)  # the engine's are among them
    preview = project.preview("--diff")
    assert "14 unchanged" in preview
    logs = project.modal("app", "logs", "cycle", "--tail", "5000")
    assert "server_args=" in logs  # the line that would have shown the key
    for place, text in (("a preview", preview), ("a log", logs), ("an `up`", "\n".join(project.printed))):
        search.text(place, text)
    search.state(project.folder / "state")
    search.cloud(project.cloud.dir)
    assert search.found == []


def test_destroy_leaves_only_what_is_retained_and_says_so(project: Project) -> None:
    outcome = project.destroy()
    assert not outcome.failed, outcome.text
    deadline = time.monotonic() + 20  # a stopped app's containers drain first
    while project.containers() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert project.containers() == set()
    assert "cycle-weights" in project.modal("volume", "list")
    assert "cycle-kernels" not in project.modal("volume", "list")
    assert "volume cycle-weights: kept with its content" in outcome.text
