"""Web endpoints of all kinds in real containers: one deployed app for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import modal
import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import answers, eventually

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module", autouse=True)
def deployed(cloud: LocalCloud) -> None:
    from tests.modal_cloud.apps import web_features_app

    web_features_app.app.deploy()


def url(name: str) -> str:
    found = modal.Function.from_name("web-features", name).get_web_url()
    assert found
    return str(found)


def greeting_url() -> str:
    return str(modal.Cls.from_name("web-features", "Greeter")(name="Ada").greet.get_web_url())


def test_asgi_streams_both_ways(cloud: LocalCloud) -> None:
    """Each piece is answered before the next one is sent."""

    address = f"{url('asgi')}/a?b=c"

    async def conversation() -> list[bytes]:
        answered: asyncio.Queue[bytes] = asyncio.Queue()

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one", b"two"):
                yield piece
                assert await asyncio.wait_for(answered.get(), 20) == piece.upper()

        async with aiohttp.ClientSession() as session, session.post(address, data=pieces()) as response:
            assert response.status == 201
            assert response.headers["X-Query"] == "b=c"
            found = []
            async for block in response.content.iter_any():
                found.append(block)
                answered.put_nowait(block)
            return found

    assert asyncio.run(conversation()) == [b"ONE", b"TWO"]


def test_websockets_of_an_asgi_app(cloud: LocalCloud) -> None:
    address = url("asgi")

    async def conversation() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{address}/room", protocols=["v1", "v2"]) as socket:
                assert socket.protocol == "v2"
                await socket.send_str("hello")
                assert await socket.receive_str(timeout=10) == "/room hello"
                await socket.send_bytes(b"abc")
                assert await socket.receive_bytes(timeout=10) == b"cba"
                await socket.send_str("bye")
                last = await socket.receive(timeout=10)
                assert (last.type, last.data, last.extra) == (aiohttp.WSMsgType.CLOSE, 4000, "as you wish")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect(f"{address}/closed")
            async with session.ws_connect(address) as socket:
                await socket.send_str("hello")
                await socket.receive_str(timeout=10)
                await socket.close(code=4321)

    asyncio.run(conversation())
    assert modal.Queue.from_name("web-features-events", create_if_missing=True).get(timeout=10) == "left with 4321"


def test_websockets_of_a_web_server_and_a_server(cloud: LocalCloud) -> None:
    server = modal.Server.from_name("web-features", "Server").get_url()
    assert server
    eventually(lambda: requests.get(server, timeout=10).status_code != 503)

    async def conversation(address: str, code: int) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/x", protocols=["two"]) as socket:
            assert socket.protocol == "two"
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=20) == "/x hello"
            await socket.send_str("bye")
            last = await socket.receive(timeout=10)
            assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, code)

    # In between is the SDK's own proxy, which loses the code.
    asyncio.run(conversation(url("web_server"), 1000))
    asyncio.run(conversation(server, 4000))


def test_wsgi_app(cloud: LocalCloud) -> None:
    response = requests.post(f"{url('wsgi')}/path", data=b"body", timeout=20)
    assert (response.status_code, response.text, response.headers["X-Path"]) == (200, "POST body", "/path")


def test_fastapi_endpoint_with_proxy_authentication(cloud: LocalCloud) -> None:
    token = {"Modal-Key": cloud.env["MODAL_TOKEN_ID"], "Modal-Secret": cloud.env["MODAL_TOKEN_SECRET"]}
    assert requests.post(url("item"), json={"a": 1}, timeout=5).status_code == 401
    response = requests.post(url("item"), json={"a": 1, "b": 2}, headers=token, timeout=20)
    assert (response.status_code, response.json()) == (200, {"total": 3})
    assert requests.post(url("item"), json={"a": "x"}, headers=token, timeout=20).status_code == 422
    assert requests.get(f"{url('item')}/docs", headers=token, timeout=20).status_code == 200


def test_web_endpoint_of_a_class_with_parameters(cloud: LocalCloud) -> None:
    """The parameters of the class come with the query, as on Modal."""
    address = greeting_url().partition("?")[0]
    assert answers(f"{address}?name=Ada&times=2&greeting=hey") == {"says": "hey Ada hey Ada"}
    refused = requests.get(f"{address}?times=many", timeout=10)
    assert refused.status_code == 400
    assert "name is missing, times=many is no number" in refused.text
