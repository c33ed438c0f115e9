"""The same requests to the stand-in and to the real SGLang, both behind the product's gate: status, headers, shapes.

`behind-the-gate.json` is what `python3 -m benchmarks.gpu ours` recorded of sglang 0.5.16 on one H200.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.engines.conftest import KEY, MODEL, ROOT, Engine, Launch, recorded
from tests.engines.test_responses import ordered

EXCHANGES: list[dict[str, Any]] = recorded("behind-the-gate.json")


def name(exchange: dict[str, Any]) -> str:
    key = "with key" if exchange["key"] else "no key"
    return f"{key} {exchange['method']} {exchange['path']} {json.dumps(exchange['sent'])[-60:]}"


@pytest.fixture(scope="module")
def behind_the_gate(launcher: Launch, kernels: Any) -> Engine:
    running = launcher(kernels=kernels, module="serving.engines.sglang_server", site=ROOT)
    running.wait_ready()
    return running


@pytest.mark.parametrize("exchange", EXCHANGES, ids=name)
def test_it_answers_as_the_real_one(behind_the_gate: Engine, exchange: dict[str, Any]) -> None:
    sent = exchange["sent"]
    if isinstance(sent, dict) and sent.get("model") == "glm-5.1":
        sent = {**sent, "model": MODEL}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {KEY}"} if exchange["key"] else {})
    body = sent.encode() if isinstance(sent, str) else None if sent is None else json.dumps(sent).encode()
    connection = http.client.HTTPConnection("127.0.0.1", behind_the_gate.port, timeout=20)
    connection.request(exchange["method"], exchange["path"], body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == exchange["status"]
    assert {header.lower() for header, _ in response.getheaders()} == set(exchange["headers"])
    if "events" in exchange:
        events = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
        real = exchange["events"]
        assert events[-1] == real[-1] == "[DONE]"
        # How many pieces there are between the role and the end is chance; these are not.
        for place in (0, -3, -2):
            assert ordered(json.loads(events[place])) == ordered(real[place])
    elif "body" in exchange:
        assert ordered(json.loads(text)) == ordered(exchange["body"])
    else:
        assert text == exchange["text"]
