"""The control API for tests, beside the Hub's own: faults, throttle, request log, moving a ref."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from local.hub.faults import Faults
from local.hub.store import Store
from local.hub.traffic import Traffic


class Control:
    def __init__(self, store: Store, traffic: Traffic, faults: Faults) -> None:
        self._store = store
        self._traffic = traffic
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_local/health", self.health),
            web.get("/_local/faults", self.list_faults),
            web.post("/_local/faults", self.add_fault),
            web.delete("/_local/faults", self.clear_faults),
            web.delete(r"/_local/faults/{id:\d+}", self.clear_faults),
            web.post("/_local/throttle", self.throttle),
            web.get("/_local/requests", self.requests),
            web.delete("/_local/requests", self.clear_requests),
            web.post("/_local/refs", self.point),
        ]

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response([rule.to_json() for rule in self._faults.rules])

    async def add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = self._faults.add(await _document(request))
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(fault.to_json())

    async def clear_faults(self, request: web.Request) -> web.Response:
        chosen = request.match_info.get("id")
        self._faults.clear(f"hub-{chosen}" if chosen else None)
        return await self.list_faults(request)

    async def throttle(self, request: web.Request) -> web.Response:
        rate = (await _document(request)).get("bytes_per_second")
        if rate is not None and not (isinstance(rate, (int, float)) and rate > 0):
            return web.json_response({"error": "bytes_per_second must be a positive number or null"}, status=400)
        self._traffic.throttle(rate)
        return web.json_response({"bytes_per_second": rate})

    async def requests(self, request: web.Request) -> web.Response:
        return web.json_response(self._traffic.to_json())

    async def clear_requests(self, request: web.Request) -> web.Response:
        self._traffic.clear()
        return web.json_response(self._traffic.to_json())

    async def point(self, request: web.Request) -> web.Response:
        """{"repo", "ref", "variant": n}: `ref` now stands for version n (0 is what a new Hub's main is)."""
        document = await _document(request)
        repo, ref, variant = document.get("repo"), document.get("ref", "main"), document.get("variant")
        if self._store.model(str(repo)) is None or not isinstance(variant, int) or not isinstance(ref, str):
            return web.json_response({"error": "needs a known repo, a ref and an integer variant"}, status=400)
        commit = await asyncio.to_thread(self._store.point, str(repo), ref, variant)
        return web.json_response({"repo": repo, "ref": ref, "variant": variant, "commit": commit.sha})


async def _document(request: web.Request) -> dict[str, Any]:
    try:
        document = await request.json()
    except json.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise web.HTTPBadRequest(text="the body must be a JSON object")
    return document
