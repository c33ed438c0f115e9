"""The same over HTTP, on the bulk port: `GET /control/overview`, `GET /control/trace`, and the page `/watch`."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from local.modal_cloud.errors import NotFound
from local.modal_cloud.watching.overview import Overview

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

OVERVIEW = "/control/overview"
TRACE = "/control/trace"
PAGE = "/watch"
READABLE = (OVERVIEW, TRACE)
"""What the page's own token opens, and only to read."""
LONGEST_WAIT = 25.0
_PAGE_FILE = Path(__file__).with_name("page.html")


def page_token(secret: str) -> str:
    """Lets whoever has it look, but do nothing: it is what the page's address carries, behind the `#`, which browsers
    send to nobody."""
    return hmac.new(secret.encode(), b"watch", hashlib.sha256).hexdigest()[:32]


class WatchControl:
    def __init__(self, cloud: Cloud, overview: Overview) -> None:
        self._cloud = cloud
        self._overview = overview

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(OVERVIEW, self.overview),
            web.get(TRACE, self.trace),
            web.get(PAGE, self.page),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        return web.json_response(await self._overview.now())

    async def trace(self, request: web.Request) -> web.Response:
        """`after` is the number of the last one known, `seconds` how long to wait for the next. Numbers begin anew with
        each `life` of the cloud."""
        try:
            after, seconds = int(request.query.get("after", "0")), float(request.query.get("seconds", "0"))
        except ValueError:
            return web.json_response({"error": "after and seconds are numbers"}, status=400)
        trace = self._cloud.interface.trace
        found = await trace.wait(after, min(max(seconds, 0.0), LONGEST_WAIT))
        names: dict[str, str] = {}
        records = [{**dataclasses.asdict(each), "caller": self._caller(each.task_id, names)} for each in found]
        return web.json_response({"life": trace.life, "records": records})

    async def page(self, request: web.Request) -> web.Response:
        """Nothing in it is secret: it asks for what it shows with the token of its address."""
        nonce = secrets.token_urlsafe(16)
        inline = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:"
        sources = f"default-src 'none'; connect-src 'self'; {inline}"
        return web.Response(
            text=_PAGE_FILE.read_text(encoding="utf-8").replace("NONCE", nonce),
            content_type="text/html",
            headers={
                "Content-Security-Policy": f"{sources}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _caller(self, task_id: str, names: dict[str, str]) -> str:
        if not task_id:
            return "client"
        if task_id not in names:
            try:
                names[task_id] = f"{self._cloud.tasks.label(task_id)} {task_id}"
            except NotFound:
                names[task_id] = task_id
        return names[task_id]
