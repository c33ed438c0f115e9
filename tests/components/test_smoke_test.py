"""What the smoke test makes of a version that answers badly: message, roll-back, record. Modal is played here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components import modal_api, smoke_test
from components.dynamic import DeploymentError
from components.endpoint import Endpoint
from components.smoke_test import SmokeTestProvider
from serving.recipe_sections import Quality, Question

QUESTION = Question(prompt="2+2?", expect="4")
PROPS: dict[str, Any] = {
    "environment": "main",
    "app": "glm",
    "appId": "ap-1",
    "ingress": "web",
    "url": "http://x",
    "version": 3.0,
    "adoptedVersion": 0.0,
    "release": "r3",
    "jobsDict": "jobs",
    "apiKey": "k",
    "servedName": "glm",
    "askAs": "glm",
    "requestsMetric": "requests_total",
    "autoscaler": {"minContainers": 0.0, "maxContainers": 3.0},
    "schedule": "",
    "limitSeconds": 1.0,
    "estimate": "",
    "questions": [QUESTION.to_json()],
    "quality": Quality(questions=[QUESTION]).to_json(),
    "volume": "w",
    "facts": {"model": {"commit": "c" * 40}, "engine": {"name": "sglang"}},
}


class Played:
    """Modal and the model: what was written and called, and the log-probability that every answer has."""

    def __init__(self) -> None:
        self.logprob = -0.1
        self.files: dict[str, dict[str, Any]] = {}
        self.rolled_back: list[tuple[int, str]] = []
        self.can_write = True

    def ask(self, _prompt: str, **_more: Any) -> dict[str, Any]:
        tokens = [{"token": "4", "logprob": self.logprob, "top_logprobs": []}]
        return {"choices": [{"message": {"content": "4"}, "logprobs": {"content": tokens}}]}

    def write(self, _environment: str, volume: str, path: str, content: bytes) -> None:
        if not self.can_write:
            raise DeploymentError(f"volume {volume}: cannot reach Modal")
        self.files[path] = json.loads(content)

    def roll_back(self, _environment: str, _app: str, version: int, strategy: str) -> modal_api.LiveApp:
        self.rolled_back.append((version, strategy))
        return modal_api.LiveApp("ap-1", 4)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played()
    monkeypatch.setattr(modal_api, "find_app", lambda *_: modal_api.LiveApp("ap-1", 3))
    monkeypatch.setattr(modal_api, "update_autoscaler", lambda *_: None)
    monkeypatch.setattr(modal_api, "roll_back_app", made.roll_back)
    monkeypatch.setattr(modal_api, "write_volume_file", made.write)
    monkeypatch.setattr(modal_api, "list_volume_files", lambda *_: {})
    monkeypatch.setattr(SmokeTestProvider, "_wait_until_ready", lambda *_: {"requests": 2})
    monkeypatch.setattr(Endpoint, "ask", made.ask)
    monkeypatch.setattr(Endpoint, "requests_finished", lambda *_: 9.0)
    monkeypatch.setattr(smoke_test, "check_models", lambda _: None)
    monkeypatch.setattr(smoke_test, "check_key", lambda _: None)
    return made


def passed(played: Played) -> dict[str, Any]:
    """The outputs of a good version 2."""
    outs = SmokeTestProvider().create({**PROPS, "release": "r2"}).outs
    return {**outs, "version": 2.0}


def test_figures_of_a_good_version_are_kept_and_no_record_is_the_tests_own(played: Played) -> None:
    measured = passed(played)["measured"]
    assert (measured["right"], measured["release"], measured["commit"]) == (1, "r2", "c" * 40)
    assert played.files == {}


def test_a_worse_version_goes_back_and_is_on_record_with_what_was_measured(played: Played) -> None:
    olds = passed(played)
    played.logprob = -0.9
    with pytest.raises(DeploymentError) as failed:
        SmokeTestProvider().update("glm", olds, PROPS)
    assert "quality: the log-probabilities of its answers are 0.800 lower on average than release r2" in str(
        failed.value
    )
    assert (
        "version 3 answered 7 requests, this test's included, and was rolled back: version 2 serves (as version 4)"
        in (str(failed.value))
    )
    assert played.rolled_back == [(2, "recreate")]  # none of its replicas goes on while others warm up
    ((path, record),) = played.files.items()
    assert path.startswith("releases/glm/")
    assert path.endswith("-r3-failed.json")
    assert record["rolledBackTo"] == {"version": 2, "as": 4}
    assert record["quality"]["meanDrop"] == 0.8
    assert record["smokeTest"] is None
    assert record["reason"] in str(failed.value)


def test_without_an_earlier_version_nothing_serves(played: Played) -> None:
    played.logprob = float("nan")
    with pytest.raises(
        DeploymentError, match=r"included\. There is no earlier version to serve: no replica of it is kept"
    ):
        SmokeTestProvider().create(PROPS)
    (record,) = played.files.values()
    assert record["rolledBackTo"] is None
    assert "log-probabilities that are no numbers" in record["reason"]


def test_a_record_that_cannot_be_written_hides_nothing(played: Played) -> None:
    olds = passed(played)
    played.logprob, played.can_write = -0.9, False
    with pytest.raises(DeploymentError) as failed:
        SmokeTestProvider().update("glm", olds, PROPS)
    assert "version 2 serves (as version 4)" in str(failed.value)
    assert str(failed.value).endswith("(and no record of this could be written: volume w: cannot reach Modal)")


def test_other_weights_begin_a_new_baseline_with_a_line(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    olds = passed(played)
    played.logprob = -0.9
    facts = {**PROPS["facts"], "model": {"commit": "d" * 40}}
    outs = SmokeTestProvider().update("glm", olds, {**PROPS, "facts": facts}).outs
    assert outs is not None
    assert "against" not in outs["measured"]
    said = capsys.readouterr().out
    assert "not compared with release r2: the weights are those of commit dddddddddddd, not cccccccccccc" in said


def test_without_a_quality_section_nothing_is_measured(played: Played) -> None:
    played.logprob = float("nan")
    assert SmokeTestProvider().create({**PROPS, "quality": None}).outs["measured"] is None
