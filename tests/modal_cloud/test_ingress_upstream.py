"""What the ingress makes of a server's answers: told apart by a client of a real connection, without containers."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from local.modal_cloud.ingress.framing import BrokenAnswer, Chunked, Counted, Framing
from local.modal_cloud.ingress.headers import passed_on
from local.modal_cloud.ingress.server_requests import ServerRequests
from local.modal_cloud.ingress.upstream import Upstream

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MB = 1_000_000


def taken(framing: Framing, whole: bytes, cuts: list[int]) -> bytes:
    """What goes through of bytes that come in pieces."""
    edges = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    found = b""
    for start, end in itertools.pairwise(edges):
        if not framing.over:
            found += framing.take(whole[start:end])
    return found


@given(
    chunks=st.lists(st.sampled_from([b"a", b"\r\n", b"0\r\n\r\n", b"x" * 300, b"5\r\nhello\r\n"])),
    extension=st.sampled_from([b"", b";a=b", b" "]),
    trailers=st.sampled_from([b"", b"X-Sum: 1\r\n", b"X-Sum: 1\r\nX-Other: 0\r\n"]),
    surplus=st.sampled_from([b"", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
    cuts=st.lists(st.integers(min_value=0), max_size=30),
)
def test_the_end_of_chunks_is_found_however_they_are_cut(
    chunks: list[bytes], extension: bytes, trailers: bytes, surplus: bytes, cuts: list[int]
) -> None:
    body = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"000%b\r\n%b\r\n" % (extension, trailers)
    framing = Chunked()
    assert taken(framing, body + surplus, cuts) == body
    assert framing.over
    assert taken(Chunked(unpacked=True), body + surplus, cuts) == b"".join(chunks)
    framing = Chunked()
    assert taken(framing, body[:-1], cuts) == body[:-1]
    assert not framing.over
    with pytest.raises(BrokenAnswer, match="before the last chunk"):
        framing.connection_ended()


@pytest.mark.parametrize("line", [b"\r\n", b"hello\r\n", b"-5\r\n", b"0x5\r\n", b"1_0\r\n", b"f" * 70_000])
def test_chunks_need_a_size(line: bytes) -> None:
    with pytest.raises(BrokenAnswer, match="no size"):
        Chunked().take(line)


@given(length=st.integers(0, 50), surplus=st.integers(0, 50), cuts=st.lists(st.integers(min_value=0), max_size=5))
def test_counted_bodies_end_after_so_many_bytes(length: int, surplus: int, cuts: list[int]) -> None:
    framing = Counted(length)
    assert taken(framing, b"x" * (length + surplus), cuts) == b"x" * length
    assert framing.over
    framing = Counted(length + 1)
    taken(framing, b"x" * length, cuts)
    with pytest.raises(BrokenAnswer, match=r"closed the connection 1 bytes before"):
        framing.connection_ended()


@asynccontextmanager
async def ingress(server: Server) -> AsyncIterator[int]:
    """The port of an ingress in front of one server."""

    async def connect() -> socket.socket:
        connection = socket.create_connection(inside.sockets[0].getsockname())
        connection.setblocking(False)
        return connection

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server(reader, writer)
        finally:
            writer.close()

    replica: Any = SimpleNamespace(function=SimpleNamespace(max_concurrent_inputs=0), requests=1, connect=connect)
    pool = SimpleNamespace(acquire=lambda session: replica, release=lambda replica: None)
    cloud: Any = SimpleNamespace(scheduler=SimpleNamespace(pool=lambda function_id: pool))
    requests = ServerRequests(cloud)
    inside = await asyncio.start_server(serve, "127.0.0.1", 0)
    listening = web.Server(lambda request: requests.handle(request, "fu"), handler_cancellation=True)
    runner = web.ServerRunner(listening, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        inside.close()


def saying(*pieces: bytes, stays: bool = False, resets: bool = False) -> Server:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01 if len(pieces) < 10 else 0)
        if stays:
            await reader.read()
        if resets:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return server


async def ask(server: Server, method: str = "GET", version: str = "1.1", times: int = 1) -> bytes:
    """All that a client gets for so many requests on one connection."""
    async with ingress(server) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        one = f"{method} / HTTP/{version}\r\nHost: here\r\n"
        writer.write(f"{one}\r\n".encode() * (times - 1) + f"{one}Connection: close\r\n\r\n".encode())
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


OK = b"HTTP/1.1 200 OK\r\n"
IN_CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "closes"])
@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        pytest.param([IN_CHUNKS + CHUNKS], CHUNKS, id="chunks"),
        pytest.param(
            [IN_CHUNKS, b"3;a", b"=b\r", b"\nabc\r\n2\r\nd", b"e\r\n0\r\nX-Sum: 1\r\n\r", b"\n"], CHUNKS, id="cut"
        ),
        pytest.param([OK + b"Content-Length: 5\r\n\r\nab", b"cde"], b"abcde", id="counted"),
        pytest.param([OK + b"Content-Length: 5\r\n\r\nabcdefg"], b"abcde", id="too much"),
        pytest.param([OK + b"Content-Length: 0\r\n\r\n"], b"", id="empty"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", id="204"),
        pytest.param([b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"], b"", id="304"),
        pytest.param(
            [b"HTTP/1.1 103 Early Hints\r\n\r\nHT", b"TP/1.1 200 OK\nContent-Length: 1\n\n", b"x"], b"x", id="103"
        ),
        pytest.param(
            [IN_CHUNKS, *[b"1\r\nx\r\n"] * 3000, b"0\r\n\r\n"], b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n", id="many"
        ),
    ],
)
def test_bodies_come_as_the_server_made_them(pieces: list[bytes], body: bytes, stays: bool) -> None:
    for times in (1, 2):
        answers = asyncio.run(ask(saying(*pieces, stays=stays), times=times))
        heads = answers.split(b"HTTP/1.1 ")[1:]
        assert [answer.partition(b"\r\n\r\n")[2] for answer in heads] == [body] * times


def test_heads_have_no_bodies() -> None:
    answer = asyncio.run(ask(saying(OK + b"Content-Length: 5\r\n\r\n", stays=True), method="HEAD", times=2))
    assert answer.count(b"Content-Length: 5") == answer.count(b"\r\n\r\n") == 2
    assert answer.endswith(b"\r\n\r\n")


def test_an_answer_and_the_end_of_its_connection_may_come_together() -> None:
    """All of it before the one who waits for a head gets to look."""

    async def all_at_once() -> bytes:
        upstream, written = Upstream(), bytearray()
        inside: Any = SimpleNamespace(resume_reading=lambda: None)
        outside: Any = SimpleNamespace(write=written.extend, get_write_buffer_size=lambda: 0)
        upstream.connection_made(inside)
        request: Any = SimpleNamespace(method="GET", version=aiohttp.HttpVersion10)
        writer: Any = SimpleNamespace(transport=outside)
        head = asyncio.create_task(upstream.head(request))
        await asyncio.sleep(0)
        upstream.data_received(OK + b"\r\nabc")
        upstream.connection_lost(None)
        async with asyncio.timeout(1):
            await head
            await upstream.pass_body(writer)
        return bytes(written)

    assert asyncio.run(all_at_once()) == b"abc"


def test_a_body_that_ends_with_the_connection() -> None:
    server = saying(OK + b"\r\nab", b"cde")
    head, _, body = asyncio.run(ask(server)).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    head, _, body = asyncio.run(ask(server, version="1.0")).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == b"abcde"


def test_a_client_of_http_1_0_gets_what_is_in_the_chunks() -> None:
    head, _, body = asyncio.run(ask(saying(IN_CHUNKS + CHUNKS), version="1.0")).partition(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0]
    assert b"Transfer-Encoding" not in head
    assert body == b"abcde"


def test_an_answer_before_the_end_of_a_large_upload_arrives() -> None:
    """The server has closed its connection by then, so that the next piece of the upload fails."""

    async def post() -> tuple[int, str]:
        server = saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
        async with (
            ingress(server) as port,
            aiohttp.request("POST", f"http://127.0.0.1:{port}", data=bytes(8 * MB)) as response,
        ):
            return response.status, await response.text()

    for _ in range(3):
        assert asyncio.run(post()) == (413, "too large")


def test_headers_of_one_connection_stay_there_and_letters_are_kept() -> None:
    given = [(b"Connection", b"close, X-Hop, Host"), (b"x-hop", b"1"), (b"Host", b"here"), (b"TE", b"trailers")]
    assert passed_on(given) == [(b"Host", b"here")]
    answer = asyncio.run(ask(saying(OK + "X-Name: é\r\nContent-Length: 0\r\n\r\n".encode())))
    assert "X-Name: é\r\n".encode() in answer


@pytest.mark.parametrize(
    ("head", "resets"),
    [
        (IN_CHUNKS + b"3\r\nabc\r\n", False),
        (IN_CHUNKS + b"3\r\nabc\r\n", True),
        (OK + b"Content-Length: 9\r\n\r\nabc", False),
        (OK + b"Content-Length: 9\r\n\r\nabc", True),
        (OK + b"\r\nabc", True),
    ],
)
def test_half_an_answer_never_looks_like_a_whole_one(head: bytes, resets: bool) -> None:
    async def get() -> None:
        server = saying(head, b"", resets=resets)
        async with ingress(server) as port, aiohttp.request("GET", f"http://127.0.0.1:{port}") as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    asyncio.run(get())


def test_chunks_that_are_none_break_the_answer_off() -> None:
    answer = asyncio.run(ask(saying(IN_CHUNKS + b"1\r\nx\r\n", b"hello\r\n", stays=True)))
    assert answer.endswith(b"\r\n\r\n1\r\nx\r\n")


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([], b"it closed the connection"),
        ([OK + b"Content-Le"], b"it closed the connection"),
        ([b"hello\r\n\r\n"], b"no HTTP: Bad status line"),
        ([b"\r\n\r\n"], b"no HTTP"),
        ([b"HTTP/1.1 101 Other\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"], b"switched protocols unasked"),
        ([OK, b"X: y\r\n" * 60_000], b"has no end"),
    ],
)
def test_what_is_no_answer_is_a_502_that_says_why(pieces: list[bytes], why: bytes) -> None:
    answer = asyncio.run(ask(saying(*pieces)))
    assert b" 502 " in answer.partition(b"\r\n")[0]
    assert why in answer


def test_a_client_that_does_not_read_makes_the_server_wait() -> None:
    async def exchange() -> None:
        sent = 0

        async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"Content-Length: %d\r\n\r\n" % (100 * MB))
            for _ in range(100):
                writer.write(bytes(MB))
                await writer.drain()
                sent += MB

        async with ingress(server) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.5)
            assert sent < 40 * MB, "the kernel's buffers are all that fills"
            await reader.readuntil(b"\r\n\r\n")
            received = 0
            while block := await reader.read(MB):
                received += len(block)
            assert received == 100 * MB
            writer.close()

    asyncio.run(exchange())


@pytest.mark.parametrize("in_chunks", [True, False])
def test_half_a_request_never_looks_like_a_whole_one(in_chunks: bool) -> None:
    async def exchange() -> bytes:
        received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert (b"Transfer-Encoding: chunked" in head) == in_chunks
            try:
                received.set_result(await reader.read())
            except ConnectionError:
                received.set_result(b"")

        async with ingress(server) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            framing = b"Transfer-Encoding: chunked\r\n\r\n3\r\n" if in_chunks else b"Content-Length: 5\r\n\r\n"
            writer.write(b"POST / HTTP/1.1\r\nHost: here\r\n" + framing + b"abc")
            await asyncio.sleep(0.1)
            writer.close()
            return await asyncio.wait_for(received, 5)

    assert asyncio.run(exchange()) in ((b"3\r\nabc\r\n",) if in_chunks else (b"abc",))
