"""A container asks its own engine as a stranger would, in every way that an engine is known to answer strangers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.engines import engine_for
from serving.errors import ServingError
from serving.open_doors import refuse_open_doors
from tests.serving.conftest import API_KEY, RecipeMaker

HEADERS = ("Origin", "Access-Control-Request-Method")
Asked = tuple[str, frozenset[str]]


class Engine(ThreadingHTTPServer):
    """Answers 200 to what is in `open_to`, 401 to anything else."""

    open_to: frozenset[Asked] = frozenset()
    asked: list[Asked]


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def answer(self) -> None:
        asked = (self.command, frozenset(name for name in HEADERS if name in self.headers))
        self.server.asked.append(asked)
        assert "Authorization" not in self.headers
        self.send_response(200 if asked in self.server.open_to else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_OPTIONS = answer

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def engine() -> Iterator[Engine]:
    server = Engine(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(make_recipe: RecipeMaker, engine: Engine, key: str = API_KEY) -> None:
    recipe = make_recipe({"port": engine.server_address[1]})
    refuse_open_doors(recipe, engine_for(recipe), key)


WAYS: list[Asked] = [
    ("GET", frozenset()),
    ("OPTIONS", frozenset()),
    ("OPTIONS", frozenset(HEADERS[1:])),
    ("OPTIONS", frozenset(HEADERS)),
]


def test_a_closed_one_is_asked_in_every_way(make_recipe: RecipeMaker, engine: Engine) -> None:
    ask(make_recipe, engine)
    assert engine.asked == WAYS


@pytest.mark.parametrize("way", WAYS)
def test_one_open_door_is_enough_to_be_refused(make_recipe: RecipeMaker, engine: Engine, way: Asked) -> None:
    engine.open_to = frozenset([way])
    with pytest.raises(ServingError, match=rf"answers {way[0]} /metrics without the API key \(HTTP 200\).*Next: "):
        ask(make_recipe, engine)


def test_without_a_key_nothing_is_asked(make_recipe: RecipeMaker, engine: Engine) -> None:
    ask(make_recipe, engine, key="")
    assert engine.asked == []
