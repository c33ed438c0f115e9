"""Modal, the Hub or the disk fail in the middle of `up`, `refresh` and `destroy`: one stack through all of it.

What else Modal and the Hub can answer is in tests/components/test_modal_api_faults.py and test_hub_faults.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from threading import Timer

import pytest

from local.faults import Faults
from tests.stack.project import Project

pytestmark = [pytest.mark.cloud, pytest.mark.long]
AGAIN = "then `pulumi up` again: it carries on from here"
SHARD_BYTES = 13_000_000


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    made = new_project("outage")
    made.edit_recipe("download", environment={"HF_HUB_DOWNLOAD_TIMEOUT": "2"})  # seconds that a stall may last
    return made


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
    faults.rpc("FunctionGetOutputs", status="UNAVAILABLE", message="try later", times=6)
    faults.rpc("VolumeCommit", status="INTERNAL", times=2)
    faults.rpc("AppPublish", drop="answer")
    faults.rpc("AppGetInfo", status="DEADLINE_EXCEEDED", times=5)
    faults.kill("outage-pipeline/verify_setup", at="output")
    more_gpus = Timer(2, faults.clear, [faults.gpus("B200", total=4)["id"]])
    faults.hub("429", match="GET /api/models", retry_after=1)
    for kind in ("reset", "close", "stall", "wrong_bytes"):  # each hits another shard; the client ends the stall
        faults.hub(kind, match="GET /_lfs/.*safetensors", after_bytes=SHARD_BYTES // 2)
    faults.hub("503", match="GET /.*tokenizer.json", times=2)

    def free_gpus(line: str) -> None:
        if "kernels: compiling" in line and not more_gpus.is_alive() and not more_gpus.finished.is_set():
            more_gpus.start()

    outcome = project.up(on_output=free_gpus)
    assert not outcome.failed, outcome.text
    assert "Modal gave no answer (try later); asking again in 1 s" in outcome.text
    assert [fault for fault in faults.listed() if not fault["hits"]] == []
    assert project.ask().status_code == 200
    log = project.modal("app", "logs", "outage-pipeline", "--tail", "5000")
    assert len([line for line in log.splitlines() if line.startswith("weights: 13 files")]) == 1, log
    for name, sent in project.hub.shard_bytes().items():
        assert sent - before.get(name, 0) < 3.1 * SHARD_BYTES, name


def test_an_outage_in_the_refresh_and_no_gpus_for_the_next_version(project: Project, faults: Faults) -> None:
    """Rolling, a version needs as many GPUs again as the one that serves."""
    faults.rpc("AppGetInfo", status="DEADLINE_EXCEEDED", times=5)
    faults.rpc("VolumeListFiles2", drop="answer")
    faults.gpus("B200", total=8)
    project.edit_recipe("deadlines", scheduling=1, startup=5, health=4)
    outcome = project.up("--refresh")
    reason = outcome.reason()
    assert "no replica was ready within 6 s, Modal has not even started its container: GPUs of its kind may" in reason
    assert re.search(r"took no traffic and was rolled back: version \d serves", reason), reason
    changed = {name for name, step in outcome.steps.items() if step != "refresh"}
    assert changed <= {"pipeline", "app", "smoke-test", "verification", "release-record"}, outcome.steps
    assert project.ask().status_code == 200


def test_a_destroy_that_is_refused_goes_on_later(project: Project, faults: Faults) -> None:
    faults.rpc("AppStop", status="PERMISSION_DENIED", message="only its owner")
    reason = project.destroy().reason()
    assert "the token may not do this in environment 'main' (only its owner); ask a workspace owner" in reason
    destroyed = project.destroy()
    assert not destroyed.failed, destroyed.text
    apps = {app["description"]: app["state"] for app in json.loads(project.modal("app", "list", "--json"))}
    assert {state for name, state in apps.items() if name.startswith("outage")} <= {"stopped"}, apps
