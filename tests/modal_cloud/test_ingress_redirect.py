"""A web request that is answered late: the client is sent on to where the answer will be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web
from modal_proto import api_pb2

from local.modal_cloud.ingress import web_requests
from local.modal_cloud.ingress.web_requests import WebRequests


class _LateAnswer:
    call_id = "fc-1"
    input_id = "in-1"
    result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.received = b""
        self.abandoned = False

    def send(self, event: api_pb2.Asgi) -> None:
        self.received += event.http_request.body

    async def receive(self) -> AsyncIterator[api_pb2.Asgi]:
        await asyncio.sleep(self._seconds)
        start = api_pb2.Asgi.HttpResponseStart(status=200, headers=[b"x-late", b"yes"])
        yield api_pb2.Asgi(http_response_start=start)
        yield api_pb2.Asgi(http_response_body=api_pb2.Asgi.HttpResponseBody(body=b"done", more_body=False))

    def abandon(self) -> None:
        self.abandoned = True


class _Cloud:
    def __init__(self, seconds: float) -> None:
        self.calls = self
        self.opened: list[_LateAnswer] = []
        self._seconds = seconds

    def open_web(self, function_id: str, method: str, scope: Mapping[str, object]) -> _LateAnswer:
        self.opened.append(_LateAnswer(self._seconds))
        return self.opened[-1]


async def _serve(cloud: _Cloud) -> tuple[web.ServerRunner, str]:
    requests = WebRequests(cloud)  # type: ignore[arg-type]

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await requests.handle(request, "fu-1", "serve")

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


def test_late_answers_are_fetched_by_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_requests, "LONGEST_SILENCE", 0.1)

    async def run() -> None:
        cloud = _Cloud(0.35)
        runner, url = await _serve(cloud)
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/path?a=1", data=b"question", allow_redirects=False) as first:
                assert first.status == 303
                assert first.headers["Location"] == "/path?a=1&__modal_function_call_id=fc-1"
            async with session.post(f"{url}/path?a=1", data=b"again") as response:
                assert (response.status, await response.text(), response.headers["x-late"]) == (200, "done", "yes")
                assert len(response.history) >= 2, "several redirects in a row are fine"
        assert [each.received for each in cloud.opened] == [b"question", b"again"]
        await runner.cleanup()

    asyncio.run(run())


def test_an_answer_that_nobody_fetches_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_requests, "LONGEST_SILENCE", 0.05)
    monkeypatch.setattr(web_requests, "PARKED_SECONDS", 0.1)

    async def run() -> None:
        cloud = _Cloud(60)
        runner, url = await _serve(cloud)
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
            assert response.status == 303
        await asyncio.sleep(0.3)
        assert cloud.opened[0].abandoned
        await runner.cleanup()

    asyncio.run(run())


def test_a_client_that_leaves_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        cloud = _Cloud(60)
        runner, url = await _serve(cloud)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            with pytest.raises(TimeoutError):
                await session.get(url)
        await asyncio.sleep(0.2)
        assert cloud.opened[0].abandoned
        await runner.cleanup()

    asyncio.run(run())
