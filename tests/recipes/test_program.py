"""The Pulumi program: a warning about flags is logged, and the stack is built all the same."""

from __future__ import annotations

import json
import runpy
import signal
from typing import Any

import pulumi
import pytest

import components.llm_stack


def test_warnings_are_logged_and_the_stack_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "glm-serving:recipe": "glm-5.1-fp8-h200",
        "glm-serving:engineArgs": json.dumps({"kv-cache-dtype": "fp8_e4m3"}),
    }
    said: list[str] = []
    built: list[Any] = []

    class Stack:
        url = api_key = commit = kernel_key = version = None

        def __init__(self, name: str, **arguments: Any) -> None:
            built.append(arguments["recipe"])

    monkeypatch.setattr(pulumi.runtime.config, "CONFIG", type("Config", (), {"get": staticmethod(lambda: config)}))
    monkeypatch.setattr(pulumi.runtime, "is_config_secret", lambda key: False)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "prod")
    monkeypatch.setattr(pulumi, "get_project", lambda: "glm-serving")
    monkeypatch.setattr(pulumi, "export", lambda name, value: None)
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    monkeypatch.setattr(components.llm_stack, "LlmStack", Stack)
    before = signal.getsignal(signal.SIGINT)
    try:
        runpy.run_module("infra.__main__")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(said) == 1
    assert "engineArgs.kv-cache-dtype" in said[0]
    assert "SGLang #17526" in said[0]
    assert built[0].engine.flags["kv-cache-dtype"] == "fp8_e4m3"
