"""What Modal refuses or does not answer: waited out where it may pass, otherwise one line with the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components import jobs, modal_api
from components.dynamic import DeploymentError
from components.modal_api import errors
from local.faults import Faults

pytestmark = pytest.mark.cloud
AGAIN = "`pulumi up` again"


@pytest.fixture
def faults(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    monkeypatch.setattr(errors, "PAUSES", (0.1, 0.1))
    ordering = Faults.of(cloud.dir)
    yield ordering
    ordering.clear()


def line_of(error: pytest.ExceptionInfo[DeploymentError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
def test_what_may_pass_is_waited_out(faults: Faults, capsys: pytest.CaptureFixture[str], status: str) -> None:
    faults.rpc("SecretGetOrCreate", status=status, message="try later", times=6)  # the SDK itself tries four times
    modal_api.write_secret("main", "faulty-secret", {"A": "1"})
    assert (
        "modal: secret faulty-secret: Modal gave no answer (try later); asking again in 0.1 s"
        in capsys.readouterr().out
    )
    assert modal_api.secret_has_keys("main", "faulty-secret", ["A"])


def test_a_stream_that_is_cut_is_asked_for_again(faults: Faults) -> None:
    modal_api.ensure_volume("main", "faulty-volume", 2)
    modal_api.write_volume_file("main", "faulty-volume", "a/b", b"123")
    faults.rpc("VolumeListFiles2", drop="answer")
    assert list(modal_api.list_volume_files("main", "faulty-volume", "a")) == ["b"]


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        ("UNAVAILABLE", "shutting down", "Modal gave no answer (shutting down); see https://status.modal.com"),
        ("UNAUTHENTICATED", "Token is revoked", "Modal refused the token (Token is revoked); run `modal token new`"),
        ("PERMISSION_DENIED", "no", "the token may not do this in environment 'main' (no); ask a workspace owner"),
        ("RESOURCE_EXHAUSTED", "too many volumes", "Modal's limit is reached (too many volumes); free what is in use"),
        ("RESOURCE_EXHAUSTED", "workspace billing cycle spend limit reached", "raise the workspace's budget"),
        ("INVALID_ARGUMENT", "name too long", "name too long; mend the cause"),
        ("FAILED_PRECONDITION", "is being deleted", "is being deleted; mend the cause"),
    ],
)
def test_what_stays_is_one_line(faults: Faults, status: str, message: str, told: str) -> None:
    faults.rpc("VolumeGetOrCreate", status=status, message=message, times=None)
    with pytest.raises(DeploymentError) as caught:
        modal_api.ensure_volume("main", "faulty-other", 2)
    line = line_of(caught)
    assert line.startswith("volume faulty-other: ")
    assert told in line
    assert line.endswith(f"then {AGAIN}: it carries on from here")


def test_a_lost_connection_is_never_taken_for_the_end_of_a_job(faults: Faults) -> None:
    faults.rpc("FunctionGetOutputs", drop="request", times=None)
    with pytest.raises(modal_api.Unreachable):
        modal_api.wait_for_call("fc-0000000000000000000000", 1, "main")


def test_a_full_volume_is_named(faults: Faults) -> None:
    modal_api.ensure_volume("main", "faulty-volume", 2)
    faults.volume("faulty-volume", free=2)
    with pytest.raises(DeploymentError) as caught:
        modal_api.write_volume_file("main", "faulty-volume", "a/large", b"123")
    assert (
        "volume faulty-volume: No space left on volume 'faulty-volume'; free space with `modal volume rm`"
        in line_of(caught)
    )
    faults.clear()
    modal_api.write_volume_file("main", "faulty-volume", "a/large", b"123")
    assert modal_api.read_volume_file("main", "faulty-volume", "a/large") == b"123"


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], modal_api.LiveApp]]:
    """Deploys an app with a function that takes a job on GPUs."""
    (tmp_path / "one_job_app.py").write_text(
        "import modal\n"
        "app = modal.App('one-job', include_source=False)\n"
        "image = modal.Image.debian_slim().run_commands('true one-job')\n"
        "app.function(image=image, name='work', gpu='B200:8', serialized=True)(lambda job: {'job': job['job']})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield partial(modal_api.deploy_app, "one_job_app", "{}", "PARAMS", "main", "rolling")
    modal_api.stop_app("main", "one-job")


def test_an_image_that_is_not_built_is_built_by_the_next_try(
    faults: Faults, deploy: Callable[[], modal_api.LiveApp]
) -> None:
    faults.break_image("true one-job", message="registry timed out")
    with pytest.raises(DeploymentError) as caught:
        deploy()
    line = line_of(caught)
    assert line.startswith("app one-job: an image was not built (")
    assert "registry timed out" in line
    assert "just `pulumi up` again" in line
    assert deploy().version == 1


def test_a_job_without_gpus_says_so_and_goes_on_when_there_are_some(
    faults: Faults, deploy: Callable[[], modal_api.LiveApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy()
    monkeypatch.setattr(jobs, "REPORT_SECONDS", 1)
    faults.gpus("B200", total=7)
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        faults.clear()

    job = jobs.Job("main", "one-job", "one-job-jobs", "work", "it", {"job": "it"})
    assert jobs.run_job(job, report) == {"job": "it"}
    assert "for Modal to have a container free; `pulumi up` attaches to it again" in said[0]
