"""When a request counts as one that the engine has in hand, seen through the gate's /metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.engines.gate import METRICS_FILE_VARIABLE, Gate
from serving.engines.unanswered import UNANSWERED_METRIC
from serving.monitor import read_metrics

HEADERS = [(b"authorization", b"Bearer key")]


class Engine:
    """Reads a request's body, then waits to be told which messages to answer with."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[Any] = asyncio.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/metrics":
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"engine 1\n"})
            return
        while (await receive()).get("more_body"):
            pass
        while (order := await self.orders.get()) != "return":
            if order == "fail":
                raise RuntimeError("the handler failed")
            await send(order)


class Talk:
    """One engine behind the gate, one POST, and scrapes in between."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.gate = Gate(self.engine, api_key=lambda: "key")
        self.body: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": HEADERS}
        self.post = asyncio.create_task(self.gate(scope, self.body.get, self._drop))

    async def _drop(self, message: Any) -> None:
        pass

    async def waiting(self) -> float:
        for _ in range(5):
            await asyncio.sleep(0)  # let the POST come to where it waits
        sent: list[bytes] = []

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        await self.gate({"type": "http", "method": "GET", "path": "/metrics", "headers": HEADERS}, self.body.get, send)
        return read_metrics(b"".join(sent).decode())[UNANSWERED_METRIC]


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own.prom").write_text("own 1\n")
    monkeypatch.setenv(METRICS_FILE_VARIABLE, str(tmp_path / "own.prom"))


def test_from_the_end_of_the_request_to_the_first_byte_of_the_answer() -> None:
    async def scenario() -> None:
        talk = Talk()
        assert await talk.waiting() == 0
        talk.body.put_nowait({"type": "http.request", "body": b"a", "more_body": True})
        assert await talk.waiting() == 0, "the client is still sending"
        talk.body.put_nowait({"type": "http.request", "body": b"b"})
        assert await talk.waiting() == 1
        talk.engine.orders.put_nowait({"type": "http.response.start", "status": 200, "headers": []})
        assert await talk.waiting() == 1, "a status says nothing about the engine"
        talk.engine.orders.put_nowait({"type": "http.response.body", "body": b"token", "more_body": True})
        assert await talk.waiting() == 0, "how slowly the client reads is not the engine's doing"
        talk.engine.orders.put_nowait("return")
        await talk.post
        assert await talk.waiting() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["return", "fail"])
def test_a_request_that_ends_without_an_answer_waits_no_more(end: str) -> None:
    async def scenario() -> None:
        talk = Talk()
        talk.body.put_nowait({"type": "http.request", "body": b"all"})
        assert await talk.waiting() == 1
        talk.engine.orders.put_nowait(end)
        await asyncio.wait([talk.post])
        assert await talk.waiting() == 0
        assert (talk.post.exception() is not None) == (end == "fail")

    asyncio.run(scenario())


def test_a_client_that_leaves_waits_no_more() -> None:
    async def scenario() -> None:
        talk = Talk()
        talk.body.put_nowait({"type": "http.request", "body": b"all"})
        assert await talk.waiting() == 1
        talk.post.cancel()
        await asyncio.wait([talk.post])
        assert await talk.waiting() == 0

    asyncio.run(scenario())
