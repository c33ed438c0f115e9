"""Which headers pass, and how requests are told apart from connections."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

_OF_THE_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)
_NEVER_OF_THE_CONNECTION = frozenset({b"host", b"content-length"})

RawHeaders = list[tuple[bytes, bytes]]


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """All but those that concern one connection. `Content-Length` stays: many a plain server can't read chunks."""
    given = [(name.lower(), name, value) for name, value in headers]
    listed = b",".join(value for lower, _, value in given if lower == b"connection").lower().split(b",")
    dropped = _OF_THE_CONNECTION | ({name.strip() for name in listed} - _NEVER_OF_THE_CONNECTION)
    return [(name, value) for lower, name, value in given if lower not in dropped]


def response_from(status: int, headers: Iterable[tuple[bytes, bytes]]) -> web.StreamResponse:
    """A response that is streamed: with the backend's `Content-Length`, else in chunks."""
    response = web.StreamResponse(status=status)
    for name, value in passed_on(headers):
        response.headers.add(name.decode("latin-1"), _text(value))
    return response


def _text(value: bytes) -> str:
    """As aiohttp writes it out again, which is in UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def refusal(status: int, text: str, **headers: str) -> web.Response:
    """An answer of the ingress itself."""
    return web.Response(status=status, text=f"modal-http: {text}\n", headers=headers)


async def invite_body(request: web.BaseRequest) -> None:
    """Clients that said `Expect: 100-continue` wait for this before they send."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
