"""The quality gate against SGLang's stand-in over HTTP, good weights and badly loaded ones. Of vLLM, a whole stack's:
tests/stack/test_releases.py."""

from __future__ import annotations

from typing import Any

import pytest

from components import quality
from components.endpoint import Endpoint, WrongAnswer
from serving.recipe_sections import Quality, Question
from tests.engines.conftest import KEY, MODEL, Engine, Launch

GATE = Quality(
    questions=[
        Question(prompt="What is the capital of Australia?", expect="Canberra"),
        Question(prompt="What is 17 * 23?", expect="391"),
    ]
)
IDENTITY: dict[str, Any] = {"commit": "c" * 40, "engine": "sglang", "baseline": 1, "release": "default", "version": 1}


def figures(engine: Engine, before: dict[str, Any] | None) -> dict[str, Any]:
    endpoint = Endpoint(f"http://127.0.0.1:{engine.port}", KEY, MODEL, MODEL, "default")
    return quality.judge(quality.measure(endpoint, GATE), GATE, IDENTITY, before)


def test_badly_loaded_weights_answer_rightly_and_are_refused(engine: Engine, launch: Launch) -> None:
    before = figures(engine, None)
    assert before["right"] == before["asked"] == 2
    assert figures(engine, before)["meanDrop"] == 0
    bad = launch(STANDIN_FAULT="wrong-scales")
    bad.wait_ready()
    with pytest.raises(WrongAnswer, match=r"are 0\.[3-7]\d+ lower on average than release default \(version 1\)"):
        figures(bad, before)
