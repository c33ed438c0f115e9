"""The gate as an ASGI middleware, in front of a small ASGI application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.engines import previous_key
from serving.engines.gate import METRICS_FILE_VARIABLE, Gate
from serving.engines.unanswered import UNANSWERED_METRIC
from serving.monitor import read_metrics
from tests.serving.conftest import REPO_ROOT

KEY = "sk-the-key"
AUTHORIZED = [(b"authorization", f"Bearer {KEY}".encode())]
PREFLIGHT = [(b"access-control-request-method", b"GET"), (b"origin", b"https://example.com")]
ENGINE_METRICS = b"# TYPE engine_requests counter\nengine_requests 3.0"  # no line end, as some writers leave it


class Application:
    """Answers any path in three pieces, `/metrics` with metrics; keeps what it was called with."""

    def __init__(self, content_type: bytes = b"text/plain; version=0.0.4", more: Any = ()) -> None:
        self.called_with: list[tuple[Any, Any, Any]] = []
        self._headers = [(b"content-type", content_type), *more]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.called_with.append((scope, receive, send))
        if scope["type"] != "http":
            return
        pieces = [ENGINE_METRICS] if scope["path"].startswith("/metrics") else [b"a", b"b", b"c"]
        length = str(sum(map(len, pieces))).encode()
        headers = [*self._headers, (b"Content-Length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, piece in enumerate(pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})


async def receive() -> dict[str, Any]:
    return {"type": "http.request"}


def ask(app: Any, path: str, method: str = "GET", headers: Any = (), kind: str = "http") -> list[dict[str, Any]]:
    """The messages that the server would have sent on."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": kind, "path": path, "method": method, "headers": list(headers)}
    asyncio.run(app(scope, receive, send))
    return sent


def gate(app: Application, key: str | None = KEY) -> Gate:
    return Gate(app, api_key=lambda: key)


CLOSED = ["/metrics", "/metrics/", "/health_generate", "/health/", "/v1/models", "/invocations", "/docs", "/", ""]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", KEY.encode())],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", f"Basic {KEY}".encode())],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Bearer wrong"), *AUTHORIZED],
        [(b"x-api-key", KEY.encode())],
    ],
)
def test_without_the_key_nothing_reaches_the_engine(headers: Any) -> None:
    app = Application()
    for path in CLOSED:
        start, body = ask(gate(app), path, headers=headers)
        assert not app.called_with, path
        assert start["status"] == 401
        assert (b"content-type", b"application/json") in start["headers"]
        assert body["body"] == b'{"error":"Unauthorized"}'


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER "])
def test_with_the_key_the_engine_gets_the_very_same_channel(scheme: bytes) -> None:
    app = Application()
    gated = gate(app)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST"}
    scope["headers"] = [(b"Authorization", scheme + KEY.encode())]  # type: ignore[assignment]
    asyncio.run(gated(scope, receive, send))
    assert app.called_with[0][0] is scope
    assert [message.get("body") for message in sent] == [None, b"a", b"b", b"c"]


def test_what_stays_open() -> None:
    app = Application()
    for path, method, headers in (
        ("/health", "GET", []),
        ("/health", "HEAD", []),
        ("/v1/models", "OPTIONS", PREFLIGHT),
    ):
        assert ask(gate(app), path, method, headers)[0]["status"] == 200
    assert len(app.called_with) == 3
    assert ask(gate(app), "/health", "POST")[0]["status"] == 401
    assert len(app.called_with) == 3


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        # No CORS middleware answers half a preflight: it would reach a route.
        *[(path, half) for path in ("/v1/models", "/metrics") for half in ([], PREFLIGHT[:1], PREFLIGHT[1:])],
        # Whole ones, where no web page has business.
        *[(path, PREFLIGHT) for path in ("/metrics", "/metrics/", "/tokenize", "/v1", "/", "")],
    ],
)
def test_no_other_options_reaches_the_engine_without_the_key(path: str, headers: Any) -> None:
    app = Application()
    assert ask(gate(app), path, "OPTIONS", headers)[0]["status"] == 401
    assert not app.called_with
    assert ask(gate(app), path, "OPTIONS", [*headers, *AUTHORIZED])[0]["status"] == 200


def test_websockets_need_the_key_and_the_lifespan_does_not() -> None:
    app = Application()
    assert ask(gate(app), "/v1/realtime", kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert not app.called_with
    ask(gate(app), "/v1/realtime", headers=AUTHORIZED, kind="websocket")
    ask(gate(app), "", kind="lifespan")
    assert len(app.called_with) == 2


@pytest.mark.parametrize("key", [None, ""])
def test_an_engine_without_a_key_is_closed(key: str | None) -> None:
    app = Application()
    for headers in ([], [(b"authorization", b"Bearer ")], [(b"authorization", b"Bearer None")]):
        assert ask(gate(app, key), "/v1/models", headers=headers)[0]["status"] == 401
    assert not app.called_with


def test_after_a_rotation_the_key_before_works_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before, clock = "sk-the-key-before", [1000.0]
    monkeypatch.setattr(previous_key.time, "time", lambda: clock[0])
    for name, value in previous_key.for_secret(before, 60).items():
        monkeypatch.setenv(name, value)
    app = Application()
    gated = gate(app)
    asked = [(b"Authorization", f"Bearer {before}".encode()), (b"accept", b"*/*")]
    assert ask(gated, "/v1/models", headers=asked)[0]["status"] == 200
    # The engine checks the key once more, and knows the current one alone.
    assert app.called_with[0][0]["headers"] == [(b"accept", b"*/*"), *AUTHORIZED]
    assert ask(gated, "/v1/models", headers=AUTHORIZED)[0]["status"] == 200
    assert ask(gated, "/v1/models", headers=[(b"authorization", b"Bearer sk-older")])[0]["status"] == 401
    clock[0] += 61
    assert ask(gated, "/v1/models", headers=asked)[0]["status"] == 401
    assert ask(gated, "/v1/models", headers=AUTHORIZED)[0]["status"] == 200


@pytest.mark.parametrize("sha256", ["", "00", "no hex", "é", None])
@pytest.mark.parametrize("until", ["9e9", "soon", "", None])
def test_no_key_is_the_key_before_where_the_secret_tells_none(
    sha256: str | None, until: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {previous_key.SHA256_VARIABLE: sha256, previous_key.UNTIL_VARIABLE: until}
    for name, value in told.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    for given in (b"Bearer ", b"Bearer sk-any"):
        assert ask(gate(Application()), "/v1/models", headers=[(b"authorization", given)])[0]["status"] == 401


def test_vllms_key_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Application()
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert ask(Gate(app), "/v1/models", headers=AUTHORIZED)[0]["status"] == 401
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    assert ask(Gate(app), "/v1/models", headers=AUTHORIZED)[0]["status"] == 200


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "metrics.prom"
    path.write_text('glm_serving_start_seconds{phase="load"} 71\n')
    monkeypatch.setenv(METRICS_FILE_VARIABLE, str(path))
    return path


def body_of(sent: list[dict[str, Any]]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent[1:])


def test_a_scrape_gets_both_and_its_length_is_right(own: Path) -> None:
    app = Application()
    asked = [*AUTHORIZED, (b"accept-encoding", b"gzip"), (b"accept", b"application/openmetrics-text")]
    sent = ask(gate(app), "/metrics", headers=asked)
    body = body_of(sent)
    assert read_metrics(body.decode()) == {"engine_requests": 3, "glm_serving_start_seconds": 71, UNANSWERED_METRIC: 0}
    assert (b"Content-Length", str(len(body)).encode()) in sent[0]["headers"]
    names = {name for name, _ in app.called_with[0][0]["headers"]}
    assert names == {b"authorization"}, "the engine was asked for what nothing can be added to"


@pytest.mark.parametrize(
    "app",
    [Application(b"application/openmetrics-text"), Application(more=[(b"content-encoding", b"gzip")])],
)
def test_what_nothing_can_be_added_to_stays_as_it_is(own: Path, app: Application) -> None:
    assert body_of(ask(gate(app), "/metrics", headers=AUTHORIZED)) == ENGINE_METRICS


def test_without_own_metrics_a_scrape_still_works(own: Path) -> None:
    own.unlink()
    assert body_of(ask(gate(Application()), "/metrics", headers=AUTHORIZED)) == ENGINE_METRICS


FAKE_SGLANG = {
    "sglang/__init__.py": "",
    "sglang/srt/__init__.py": "",
    "sglang/srt/entrypoints/__init__.py": "",
    "sglang/srt/entrypoints/http_server.py": (
        "import types\n"
        "class App:\n"
        "    router = types.SimpleNamespace(routes=[types.SimpleNamespace(path=path) for path in\n"
        "        ('/health', '/metrics', '/v1/completions', '/v1/chat/completions', '/v1/models')])\n"
        "    def build_middleware_stack(self):\n        return 'all of the middleware'\n"
        "app = App()\n"
    ),
    "sglang/launch_server.py": (
        "import multiprocessing as mp, sys, types\n"
        "def child(queue): queue.put(sys.modules['__main__'].__name__)\n"
        "if __name__ == '__main__':\n"
        "    assert 'sglang.srt.entrypoints.http_server' not in sys.modules\n"
        "    from sglang.srt.entrypoints.http_server import app\n"
        "    app.server_args = types.SimpleNamespace(api_key='the-key')\n"
        "    gate = app.build_middleware_stack()\n"
        "    print(type(gate).__name__, gate._api_key(), 'before', gate.app, sys.argv[1:], __spec__.name)\n"
        "    print(*(route.path for route in app.router.routes))\n"
        "    queue = mp.get_context('spawn').Queue()\n"
        "    process = mp.get_context('spawn').Process(target=child, args=(queue,))\n"
        "    process.start(); process.join()\n"
        "    print(process.exitcode, 'serving.engines.sglang_server' in sys.modules)\n"
        "    sys.exit(7)\n"
    ),
}


def run_server(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name, text in FAKE_SGLANG.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "serving.engines.sglang_server", *arguments]
    environment = {"PYTHONPATH": f"{tmp_path}:{REPO_ROOT}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=60)


def test_sglangs_server_runs_as_itself_behind_the_gate(tmp_path: Path) -> None:
    done = run_server(tmp_path, "--tp", "8")
    assert done.returncode == 7, done.stderr
    asked = "Gate the-key before all of the middleware"
    assert done.stdout.splitlines()[0] == f"{asked} ['--tp', '8'] sglang.launch_server"
    assert done.stdout.splitlines()[1] == "/v1/completions /v1/chat/completions /health /metrics /v1/models"
    assert done.stdout.splitlines()[2].startswith("0 ")


@pytest.mark.parametrize(
    "flag", ["--tokenizer-worker-num=2", "--tokenizer-worker=2", "--grpc-mode", "--grpc-port", "--ssl-keyfile"]
)
def test_a_way_around_the_gate_is_refused(tmp_path: Path, flag: str) -> None:
    done = run_server(tmp_path, flag)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sglang_server: error: {flag.partition('=')[0]}: ")
    assert "Next: " in done.stderr
