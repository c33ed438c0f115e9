"""Long jobs on the local cloud: one call at a time, whoever asks, and nothing stale is taken for a result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import modal
import pytest

from components import interruption, modal_api
from components.claims import LEASE_SECONDS, Claims
from components.dynamic import DeploymentError
from components.job_commands import main as job_commands
from components.jobs import Job, run_job
from serving.stack_dict import StackDict
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


def silent(line: str) -> None:
    pass


def claim(jobs: modal.Dict, name: str, call: str | None, age: float = 0) -> None:
    """A claim that somebody left who is gone."""
    jobs[f"claim/{name}/1"] = {"owner": "gone", "call": call, "at": time.time() - age}


def test_a_result_comes_back_with_progress_on_the_way(jobs: modal.Dict) -> None:
    said: list[str] = []
    assert run_job(job("plain", seconds=2.5), said.append) == {"job": "plain"}
    assert said == ["half of it"]


def test_two_who_ask_share_one_call(jobs: modal.Dict) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_job, job("shared", seconds=3), silent)
        time.sleep(1)
        said: list[str] = []
        second = pool.submit(run_job, job("shared", seconds=3), said.append)
        assert first.result() == second.result() == {"job": "shared"}
    assert runs(jobs, "shared") == 1
    assert said[0] == "attached to the job that is already running"


def test_a_failure_is_one_line_and_the_next_try_starts_afresh(jobs: modal.Dict) -> None:
    for _ in range(2):
        with pytest.raises(DeploymentError, match="out of luck"):
            run_job(job("unlucky", fail=True), silent)
    assert runs(jobs, "unlucky") == 2


def test_a_result_that_nobody_collected_is_not_taken_for_a_new_one(jobs: modal.Dict) -> None:
    call = modal_api.spawn("main", "counting", "work", {"job": "old"})
    claim(jobs, "old", call)
    assert modal_api.wait_for_call(call, 30, "main") == {"job": "old"}
    run_job(job("old"), silent)
    assert runs(jobs, "old") == 2


def test_of_all_who_take_over_an_expired_claim_at_once_one_spawns(jobs: modal.Dict) -> None:
    claim(jobs, "orphan", None, age=LEASE_SECONDS + 1)
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(run_job, job("orphan", seconds=4), silent) for _ in range(12)]
        assert all(one.result() == {"job": "orphan"} for one in asked)
    assert runs(jobs, "orphan") == 1


def test_an_owner_that_was_too_slow_takes_its_call_back(jobs: modal.Dict, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = modal_api.spawn

    def slow_spawn(*what: Any) -> str:
        monkeypatch.setattr(modal_api, "spawn", spawn)  # only this once
        entry = jobs["claim/slow/1"]
        jobs["claim/slow/1"] = {**entry, "at": entry["at"] - LEASE_SECONDS - 1}
        assert run_job(job("slow"), silent) == {"job": "slow"}  # by somebody else, in the meantime
        return spawn(*what)

    monkeypatch.setattr(modal_api, "spawn", slow_spawn)
    cancelled: list[str] = []
    cancel = modal_api.cancel_call
    monkeypatch.setattr(modal_api, "cancel_call", lambda call, env: (cancelled.append(call), cancel(call, env)))
    run_job(job("slow", seconds=1), silent)
    assert len(cancelled) == 1


def test_a_call_names_itself_and_gives_way_to_a_successor(jobs: modal.Dict) -> None:
    entries = StackDict("counting-jobs")
    claim(jobs, "stray", None)
    assert entries.admits("claim/stray/1", "fc-1")
    assert jobs["claim/stray/1"]["call"] == "fc-1"
    assert entries.admits("claim/stray/1", "fc-1")  # the same call again, after a preemption
    assert not entries.admits("claim/stray/1", "fc-2")
    assert Claims(jobs, "stray").take(Claims(jobs, "stray").latest())
    assert not entries.admits("claim/stray/1", "fc-1")
    assert entries.admits("claim/by-hand/1", "fc-3")  # the Dict knows nothing of it


def test_a_link_lost_for_a_while_is_waited_out(jobs: modal.Dict, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, lost, said = modal_api.wait_for_call, iter(range(3)), list[str]()

    def flaky(call_id: str, seconds: float, environment: str) -> Any:
        if next(lost, None) is not None:
            raise modal_api.Unreachable("cannot reach Modal")
        return wait(call_id, seconds, environment)

    monkeypatch.setattr(modal_api, "wait_for_call", flaky)
    assert run_job(job("flaky", seconds=1), said.append) == {"job": "flaky"}
    assert runs(jobs, "flaky") == 1
    assert said[0].startswith("Modal does not answer; the job goes on")


def test_a_link_lost_for_long_ends_the_waiting_and_the_next_up_attaches(
    jobs: modal.Dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(call_id: str, seconds: float, environment: str) -> None:
        raise modal_api.Unreachable("cannot reach Modal")

    with monkeypatch.context() as cut:
        cut.setattr(modal_api, "wait_for_call", unreachable)
        cut.setattr("components.jobs.LOST_SECONDS", 0)
        with pytest.raises(DeploymentError, match=r"cannot reach Modal.*`pulumi up` attaches to it again"):
            run_job(job("cut-off", seconds=3), silent)
    assert run_job(job("cut-off", seconds=3), silent) == {"job": "cut-off"}
    assert runs(jobs, "cut-off") == 1


def test_an_interruption_says_what_goes_on_and_a_command_that_ends_it(
    jobs: modal.Dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as interrupted:
        interrupted.setattr(interruption, "asked", lambda: True)
        with pytest.raises(DeploymentError, match="goes on in the cloud") as error:
            run_job(job("long", seconds=60), silent)
    command = str(error.value).split("python -m components.jobs ")[1].split("`")[0].split()
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(run_job, job("long", seconds=60), silent)
        assert job_commands(["list", "counting-jobs", "long"]) == 0
        assert capsys.readouterr().out.startswith("long  fc-")
        assert job_commands(command) == 0
        assert "long: cancelled" in capsys.readouterr().out
        with pytest.raises(DeploymentError, match=r"cancelled by .*`pulumi up` starts it again"):
            waits.result()
    assert job_commands(["cancel", "counting-jobs", "long"]) == 1
    assert "nothing runs for long" in capsys.readouterr().out
    assert run_job(job("long"), silent) == {"job": "long"}


def test_jobs_of_a_stack_that_is_not_there(cloud: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert job_commands(["list", "no-such-jobs"]) == 1
    assert "no-such-jobs" in capsys.readouterr().err


def test_a_call_that_modal_no_longer_knows_is_started_again(jobs: modal.Dict) -> None:
    claim(jobs, "lost", "fc-0123456789ABCDEFGHIJ01")
    run_job(job("lost"), silent)
    assert runs(jobs, "lost") == 1
