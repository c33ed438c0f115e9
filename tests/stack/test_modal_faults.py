"""Modal, the Hub or the disk fail in the middle of `up`, `refresh` and `destroy`: one stack through all of it.

What else Modal and the Hub can answer is in tests/components/test_modal_api_faults.py and test_hub_faults.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest

from local.faults import Faults
from tests.stack.project import Project

pytestmark = [pytest.mark.cli, pytest.mark.cloud]
AGAIN = "then `pulumi up` again: it carries on from here"
SHARD_BYTES = 13_000_000


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    return new_project("outage")


@pytest.fixture(autouse=True)
def faults(project: Project) -> Iterator[Faults]:
    ordering = Faults.of(project.cloud.dir)
    yield ordering
    ordering.clear()


def test_a_token_that_modal_refuses(project: Project, faults: Faults) -> None:
    faults.rpc("*GetOrCreate", status="UNAUTHENTICATED", message="Token validation failed", times=None)
    for reason in project.up().reasons():
        assert "Modal refused the token (Token validation failed); run `modal token new`" in reason
        assert reason.endswith(AGAIN)


def test_a_limit_of_the_workspace(project: Project, faults: Faults) -> None:
    words = "Workspace has reached its limit of volumes"
    faults.rpc("VolumeGetOrCreate", contains="outage-kernels", status="RESOURCE_EXHAUSTED", message=words, times=None)
    reason = project.up().reason()
    assert reason.startswith(f"volume outage-kernels: Modal's limit is reached ({words}); free what is in use")
    assert reason.endswith(AGAIN)


def test_an_image_that_is_not_built(project: Project, faults: Faults) -> None:
    faults.break_image("FROM", message="pull of the base image failed: registry timed out")
    reason = project.up().reason()
    assert reason.startswith("app outage-pipeline: an image was not built (")
    assert "registry timed out" in reason
    assert "just `pulumi up` again" in reason


def test_the_spend_limit(project: Project, faults: Faults) -> None:
    faults.quota()
    reason = project.up().reason()
    assert "Modal starts nothing more (Function call failed: workspace billing cycle spend limit reached)" in reason
    assert "raise the workspace's budget" in reason
    assert reason.endswith(AGAIN)


def test_a_full_volume(project: Project, faults: Faults) -> None:
    faults.volume("outage-weights", free=SHARD_BYTES // 2)
    reason = project.up().reason()
    assert reason.startswith("weights: no space left on volume outage-weights (0.064 GB needed).")
    assert "`modal volume rm -r outage-weights" in reason


def test_what_passes_stops_nothing(project: Project, faults: Faults) -> None:
    """Everything from the download to the chat, with an outage here and a lost answer there."""
    before = project.hub.shard_bytes()
    faults.rpc("FunctionMap", drop="answer", caller="client")  # the download's: it must not be started twice
    faults.rpc("FunctionGetOutputs", status="UNAVAILABLE", times=6)
    faults.rpc("VolumeCommit", status="INTERNAL", times=2)
    faults.rpc("AppPublish", drop="answer")
    faults.rpc("AppGetInfo", status="DEADLINE_EXCEEDED", times=5)
    faults.rpc("ImageGetOrCreate", status="UNAVAILABLE", message="try later", times=5)
    faults.kill("outage-pipeline/verify_setup", at="output")
    gpus = faults.gpus("B200", total=4)
    faults.hub("429", match="GET /api/models", retry_after=1)
    for kind in ("reset", "close", "stall", "wrong_bytes"):  # each hits another shard; the client ends the stall
        faults.hub(kind, match="GET /_lfs/.*safetensors", after_bytes=SHARD_BYTES // 2)
    faults.hub("503", match="GET /.*tokenizer.json", times=2)

    def more_gpus(line: str) -> None:
        if "for Modal to have a container free" in line and gpus["id"] in [fault["id"] for fault in faults.listed()]:
            faults.clear(gpus["id"])

    outcome = project.up(on_output=more_gpus)
    print(outcome.text)
    assert not outcome.failed, outcome.text
    assert "Modal gave no answer (try later); asking again in 1 s" in outcome.text
    unhurt = [fault for fault in faults.listed() if not fault["hits"] and fault["kind"] != "gpus"]
    assert unhurt == []
    assert project.ask().status_code == 200
    log = project.modal("app", "logs", "outage-pipeline", "--tail", "5000")
    assert len([line for line in log.splitlines() if line.startswith("weights: 13 files")]) == 1, log
    for name, sent in project.hub.shard_bytes().items():
        assert sent - before.get(name, 0) < 3.1 * SHARD_BYTES, name
    assert project.up().steps == {}


def test_a_refresh_waits_an_outage_out(project: Project, faults: Faults) -> None:
    faults.rpc("AppGetInfo", status="DEADLINE_EXCEEDED", times=5)
    faults.rpc("VolumeListFiles2", drop="answer")
    refreshed = project.refresh()
    assert not refreshed.failed, refreshed.text
    assert all(fault["hits"] for fault in faults.listed())
    assert set(refreshed.changes) == {"same"}, refreshed.text


def test_no_gpus_for_the_next_version(project: Project, faults: Faults) -> None:
    """Rolling, a version needs as many GPUs again as the one that serves."""
    faults.gpus("B200", total=8)
    project.edit_recipe("deadlines", scheduling=2, startup=8, health=7)
    reason = project.up().reason()
    assert "no replica was ready within 10 s, Modal has not even started its container: GPUs of its kind may" in reason
    assert re.search(r"took no traffic and was rolled back: version \d serves", reason), reason
    assert project.ask().status_code == 200


def test_a_destroy_that_is_refused_goes_on_later(project: Project, faults: Faults) -> None:
    faults.rpc("AppStop", status="PERMISSION_DENIED", message="only its owner")
    reason = project.destroy().reason()
    assert "the token may not do this in environment 'main' (only its owner); ask a workspace owner" in reason
    destroyed = project.destroy()
    assert not destroyed.failed, destroyed.text
    apps = {app["description"]: app["state"] for app in json.loads(project.modal("app", "list", "--json"))}
    assert {state for name, state in apps.items() if name.startswith("outage")} <= {"stopped"}, apps
