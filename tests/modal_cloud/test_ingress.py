"""HTTP through both ingresses: `web` (requests are inputs of a function) and `server` (requests go to the port)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from tests.local_cloud import LocalCloud
from tests.modal_cloud.web_apps import WebApp, answers, ask, eventually

pytestmark = pytest.mark.cloud
BOTH = pytest.mark.parametrize("ingress", ["web", "server"])


@pytest.fixture(scope="module")
def app(cloud: LocalCloud) -> Iterator[WebApp]:
    """Containers that stay for the whole module."""
    deployed = WebApp(cloud, f"ingress-{uuid4().hex[:6]}")
    deployed.deploy(min=1, window=60)
    eventually(lambda: answers(deployed.url("server")))
    yield deployed
    deployed.stop()


@pytest.fixture
def cold(cloud: LocalCloud) -> Iterator[WebApp]:
    """Nothing runs until somebody asks."""
    deployed = WebApp(cloud, f"cold-{uuid4().hex[:6]}")
    deployed.deploy(window=60)
    yield deployed
    deployed.stop()


def test_a_web_endpoint_holds_requests_until_a_container_is_ready(cold: WebApp) -> None:
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: ask(cold.url("web")), range(3)))
    assert {answer["version"] for answer in found} == {"1"}
    assert len({answer["task"] for answer in found}) == 1


def test_a_server_answers_503_until_a_container_is_ready(cold: WebApp) -> None:
    response = requests.get(cold.url("server"), timeout=5)
    assert response.status_code == 503
    assert "no container" in response.text
    assert eventually(lambda: answers(cold.url("server")))["version"] == "1"


@BOTH
def test_requests_arrive_as_they_were_sent(app: WebApp, ingress: str) -> None:
    url = urlsplit(app.url(ingress))
    body = b'{"a": 1}'
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/a%2Fb/%E2%82%AC?q=%20x&q=2+3 HTTP/1.1\r\nHost: example.org\r\nX-One: 1\r\nX-Twice: a\r\n"
            b"X-Twice: b\r\nAuthorization: Bearer k\r\nContent-Length: 8\r\nConnection: close\r\n\r\n" + body
        )
        answer = json.loads(_read(connection).partition(b"\r\n\r\n")[2])
    assert answer["method"] == "POST"
    assert answer["path"] == "/v1/a%2Fb/%E2%82%AC?q=%20x&q=2+3"
    assert answer["body"] == len(body)
    for header in (["host", "example.org"], ["x-one", "1"], ["authorization", "Bearer k"]):
        assert header in answer["headers"]
    assert ["content-length", str(len(body))] in answer["headers"], "plain servers can't read chunks"
    assert [value for name, value in answer["headers"] if name == "x-twice"] in (["a", "b"], ["a, b"])


@BOTH
def test_bodies_of_all_kinds(app: WebApp, ingress: str) -> None:
    url = app.url(ingress)
    assert requests.post(url, data=b"x" * 12_000_000, timeout=60).json()["body"] == 12_000_000
    assert requests.post(url, data=(b"y" * 1000 for _ in range(50)), timeout=30).json()["body"] == 50_000
    assert requests.put(url, data=b"", timeout=30).json()["body"] == 0
    large = requests.get(f"{url}/big?bytes=30000000", timeout=60)
    assert large.headers["Content-Length"] == str(len(large.content)) == "30000000"
    head = requests.head(f"{url}/big?bytes=1234", timeout=30)
    assert (head.headers["Content-Length"], head.content) == ("1234", b"")


@BOTH
def test_statuses_and_headers_come_back(app: WebApp, ingress: str) -> None:
    url = app.url(ingress)
    for code in (201, 204, 304, 404, 418, 500):
        response = requests.get(f"{url}/status?code={code}", timeout=30)
        assert response.status_code == code
        assert response.headers["X-Twice"] == "a, b"


@BOTH
def test_streams_are_not_buffered(app: WebApp, ingress: str) -> None:
    began = time.monotonic()
    arrived = []
    with requests.get(f"{app.url(ingress)}/stream?count=4&pause=0.3", stream=True, timeout=30) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        for line in response.iter_lines():
            if line:
                arrived.append((time.monotonic() - began, line))
    assert [line for _, line in arrived] == [b"data: 0", b"data: 1", b"data: 2", b"data: 3"]
    assert arrived[0][0] < 0.3
    assert 0.8 < arrived[3][0] - arrived[0][0] < 2


@BOTH
def test_a_client_that_leaves_is_told_to_the_backend(app: WebApp, ingress: str) -> None:
    url = app.url(ingress)
    with requests.get(f"{url}/stream?count=1000&pause=0.05", stream=True, timeout=30) as response:
        next(response.iter_lines())
    assert eventually(lambda: "disconnected" in requests.get(f"{url}/seen", timeout=30).text)
    assert ask(url)["version"] == "1"


@BOTH
def test_a_dead_backend_is_an_error_and_another_container(cold: WebApp, ingress: str) -> None:
    url = cold.url(ingress)
    before = eventually(lambda: answers(url))
    assert requests.get(f"{url}/die", timeout=30).status_code >= 500
    if ingress == "server":
        # Modal looks after the container, not after what runs in it: that is the app's own monitor's business.
        assert requests.get(url, timeout=30).status_code == 502
        return
    assert eventually(lambda: requests.get(url, timeout=30).status_code == 200)
    assert ask(url)["task"] != before["task"]


@BOTH
def test_half_an_answer_never_looks_like_a_whole_one(cold: WebApp, ingress: str) -> None:
    url = cold.url(ingress)
    before = eventually(lambda: answers(url))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{url}/kill-container", timeout=30)
    after = eventually(lambda: answers(url))
    assert after["task"] != before["task"]


def test_a_container_takes_many_requests_at_once(app: WebApp) -> None:
    url = app.url("web")
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ask(url, "/slow?seconds=1"), range(4)))
    assert time.monotonic() - began < 2.5
    assert len({answer["task"] for answer in found}) == 1


def test_too_many_requests_of_a_server(cloud: LocalCloud) -> None:
    app = WebApp(cloud, f"most-{uuid4().hex[:6]}")
    app.deploy(min=1, max=1, most=2, ingresses=["server"])
    url = app.url("server")
    eventually(lambda: answers(url))
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: requests.get(f"{url}/slow?seconds=1", timeout=30).status_code, range(4)))
    assert sorted(codes) == [200, 200, 429, 429]
    app.stop()


def test_proxy_tokens(cloud: LocalCloud) -> None:
    app = WebApp(cloud, f"closed-{uuid4().hex[:6]}")
    app.deploy(open=False, ingresses=["server"])
    token = {"Modal-Key": cloud.env["MODAL_TOKEN_ID"], "Modal-Secret": cloud.env["MODAL_TOKEN_SECRET"]}
    url = app.url("server")
    assert requests.get(url, timeout=5).status_code == 401
    assert requests.get(url, headers={**token, "Modal-Secret": "wrong"}, timeout=5).status_code == 401
    assert requests.get(url, headers=token, timeout=5).status_code == 503
    app.stop()


@BOTH
def test_a_stopped_app_is_gone_and_comes_back_at_the_same_address(cold: WebApp, ingress: str) -> None:
    url = cold.url(ingress)
    cold.stop()
    assert requests.get(url, timeout=5).status_code == 404
    cold.deploy(version="2")
    assert cold.url(ingress) == url
    assert eventually(lambda: answers(url))["version"] == "2"


def test_a_waiting_client_that_leaves_is_forgotten(cold: WebApp) -> None:
    """Its request is dropped from the queue; the container still comes up and serves the next one."""
    url = cold.url("web")
    with pytest.raises(requests.Timeout):
        requests.get(f"{url}/slow?seconds=30", timeout=0.3)
    began = time.monotonic()
    assert ask(url)["version"] == "1"
    assert time.monotonic() - began < 10


def _read(connection: socket.socket) -> bytes:
    received = b""
    while block := connection.recv(65536):
        received += block
    return received
