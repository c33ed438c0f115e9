"""Long jobs on the local cloud: one call at a time, whoever asks, and nothing stale is taken for a result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import modal
import pytest

from components import modal_api
from components.dynamic import DeploymentError
from components.jobs import LEASE_SECONDS, Job, run_job
from tests.components.counting_app import app

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def jobs(cloud: Any) -> Iterator[modal.Dict]:
    jobs_dict = modal_api.stack_dict("main", "counting-jobs")
    jobs_dict.put("made", True)
    app.deploy()
    yield jobs_dict
    modal_api.stop_app("main", "counting")
    modal_api.delete_dict("main", "counting-jobs")


def job(name: str, **request: object) -> Job:
    return Job("main", "counting", "counting-jobs", "work", name, {"job": name, **request})


def runs(jobs: modal.Dict, name: str) -> int:
    return sum(1 for key in jobs.keys() if str(key).startswith(f"ran/{name}/"))  # noqa: SIM118  (no mapping)


def test_a_result_comes_back_with_progress_on_the_way(jobs: modal.Dict) -> None:
    said: list[str] = []
    assert run_job(job("plain", seconds=2.5), said.append) == {"job": "plain"}
    assert said == ["half of it"]
    assert jobs.get("claim/plain") is None


def test_two_who_ask_share_one_call(jobs: modal.Dict) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_job, job("shared", seconds=3), lambda line: None)
        time.sleep(1)
        said: list[str] = []
        second = pool.submit(run_job, job("shared", seconds=3), said.append)
        assert first.result() == second.result() == {"job": "shared"}
    assert runs(jobs, "shared") == 1
    assert said[0] == "attached to the job that is already running"


def test_a_failure_is_one_line_and_the_next_try_starts_afresh(jobs: modal.Dict) -> None:
    for _ in range(2):
        with pytest.raises(DeploymentError, match="out of luck"):
            run_job(job("unlucky", fail=True), lambda line: None)
    assert runs(jobs, "unlucky") == 2


def test_a_result_that_nobody_collected_is_not_taken_for_a_new_one(jobs: modal.Dict) -> None:
    call = modal_api.spawn("main", "counting", "work", {"job": "old"})
    jobs["claim/old"] = {"owner": "gone", "call": call, "at": time.time()}
    assert modal_api.wait_for_call(call, 30, "main") == {"job": "old"}
    run_job(job("old"), lambda line: None)
    assert runs(jobs, "old") == 2


def test_a_claim_whose_owner_died_before_its_call_is_taken_over(jobs: modal.Dict) -> None:
    jobs["claim/orphan"] = {"owner": "gone", "call": None, "at": time.time() - LEASE_SECONDS - 1}
    run_job(job("orphan"), lambda line: None)
    assert runs(jobs, "orphan") == 1


def test_a_lost_link_keeps_the_claim_and_the_next_up_attaches(
    jobs: modal.Dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(call_id: str, seconds: float, environment: str) -> None:
        raise DeploymentError("cannot reach Modal")

    with monkeypatch.context() as cut:
        cut.setattr(modal_api, "wait_for_call", unreachable)
        with pytest.raises(DeploymentError, match="cannot reach Modal"):
            run_job(job("cut-off", seconds=3), lambda line: None)
    assert run_job(job("cut-off", seconds=3), lambda line: None) == {"job": "cut-off"}
    assert runs(jobs, "cut-off") == 1


def test_a_call_that_modal_no_longer_knows_is_started_again(jobs: modal.Dict) -> None:
    jobs["claim/lost"] = {"owner": "gone", "call": "fc-0123456789ABCDEFGHIJ01", "at": time.time()}
    run_job(job("lost"), lambda line: None)
    assert runs(jobs, "lost") == 1
