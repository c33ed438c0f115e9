"""The clock in the control API, HTTP on the bulk port: `GET`, `POST /control/clock`."""

from __future__ import annotations

import dataclasses
import json
import math

from aiohttp import web

from local.modal_cloud import clock
from local.modal_cloud.schedules.state import Firing, Schedules

CLOCK = "/control/clock"
FARTHEST = 62 * 86400
"""Seconds in one step with all that is due."""


class ClockControl:
    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    def routes(self) -> list[web.RouteDef]:
        return [web.get(CLOCK, self.show), web.post(CLOCK, self.advance)]

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response({"now": clock.now(), "ahead": clock.ahead()})

    async def advance(self, request: web.Request) -> web.Response:
        """`{"seconds", "skip"}` → the same as `show`, and what was due on the way; with `skip` that is left out."""
        try:
            document = await request.json()
            seconds, skip = float(document["seconds"]), bool(document.get("skip"))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            return web.json_response({"error": 'the body must be {"seconds": number}'}, status=400)
        if not 0 <= seconds <= (math.inf if skip else FARTHEST):
            return web.json_response({"error": f"the clock moves on by 0 to {FARTHEST} seconds"}, status=400)
        fired: list[Firing] = []
        if skip:
            await self._schedules.skip(seconds)
        else:
            fired = await self._schedules.advance(seconds)
        return web.json_response(
            {"now": clock.now(), "ahead": clock.ahead(), "fired": [dataclasses.asdict(firing) for firing in fired]}
        )
