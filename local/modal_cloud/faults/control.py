"""The control API, HTTP on the bulk port: `GET`, `POST`, `DELETE /control/faults`, `DELETE /control/faults/ID`."""

from __future__ import annotations

import json

from aiohttp import web

from local.modal_cloud.faults.ordered import Faults

FAULTS = "/control/faults"


class FaultsControl:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(FAULTS, self.list),
            web.post(FAULTS, self.add),
            web.delete(FAULTS, self.clear),
            web.delete(FAULTS + r"/{id:\d+}", self.clear),
        ]

    async def list(self, request: web.Request) -> web.Response:
        return web.json_response(self._faults.listed())

    async def add(self, request: web.Request) -> web.Response:
        try:
            document = await request.json()
            if not isinstance(document, dict):
                raise ValueError("the body must be a JSON object")
            return web.json_response(self._faults.add(document))
        except (json.JSONDecodeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)

    async def clear(self, request: web.Request) -> web.Response:
        chosen = request.match_info.get("id")
        self._faults.clear(int(chosen) if chosen else None)
        return web.json_response(self._faults.listed())
