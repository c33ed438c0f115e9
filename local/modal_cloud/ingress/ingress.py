"""One HTTP listener per endpoint (`seams.Ingress`)."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from typing import TYPE_CHECKING

from aiohttp import web
from modal_proto import api_pb2

from local.modal_cloud.errors import NotFound
from local.modal_cloud.functions.variants import parameters_of_query
from local.modal_cloud.ingress import headers, ports
from local.modal_cloud.ingress.server_requests import ServerRequests
from local.modal_cloud.ingress.web_requests import WebRequests
from local.modal_cloud.records import Endpoint

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_LARGEST_HEADER = 64 * 1024
_CLOSING_GRACE = 1.0
"""Seconds that requests get when the emulator stops."""
_log = logging.getLogger(__name__)


class Ingress:
    """Which function answers is looked up at each request, so that a deploy, a rollback or a stop counts at once."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._web = WebRequests(cloud)
        self._servers = ServerRequests(cloud)
        self._runners: dict[str, web.ServerRunner] = {}
        self._starting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for endpoint in self._cloud.endpoints.all():
            try:
                app = self._cloud.apps.get(endpoint.app_id)
            except NotFound:
                continue
            if app.running:
                self._listen_again(endpoint)

    async def close(self) -> None:
        if self._starting:
            await asyncio.wait(self._starting)
        await asyncio.gather(*(runner.cleanup() for runner in self._runners.values()))
        self._runners.clear()

    def url_for(self, app_id: str, function_name: str, method: str = "") -> str:
        """`http://127.0.0.1:PORT`, for ever the same. Raises OSError when no port is free."""
        app = self._cloud.apps.get(app_id)
        # A new app gets its name when it is published, but its first deploy already carries it as description.
        deploying = app.state == api_pb2.APP_STATE_INITIALIZING
        name = app.name or (app.description if deploying else "") or app.id
        endpoint_id = f"{app.environment}/{name}/{function_name}" + (f".{method}" if method else "")
        endpoint = self._cloud.endpoints.find(endpoint_id)
        if endpoint is None:
            taken = {other.port for other in self._cloud.endpoints.all()}
            port, listener = ports.listen_somewhere(f"{self._cloud.folders.root}/{endpoint_id}", taken)
            endpoint = Endpoint(id=endpoint_id, port=port, app_id=app_id, method=method)
            self._serve(endpoint, listener)
        elif endpoint.id not in self._runners:
            self._listen_again(endpoint)
        endpoint.app_id = app_id
        self._cloud.endpoints.save(endpoint)
        return f"http://127.0.0.1:{endpoint.port}"

    def app_published(self, app_id: str) -> None:
        """Nothing to do: see the class."""

    def app_stopped(self, app_id: str) -> None:
        """Its endpoints answer 404 from now on; they keep their ports."""

    def _listen_again(self, endpoint: Endpoint) -> None:
        try:
            listener = ports.listen(endpoint.port)
        except OSError as error:
            _log.error("endpoint %s: port %d is taken (%s); end what uses it", endpoint.id, endpoint.port, error)
            return
        self._serve(endpoint, listener)

    def _serve(self, endpoint: Endpoint, listener: socket.socket) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(request, endpoint)

        server = web.Server(
            handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_line_size=_LARGEST_HEADER,
            max_field_size=_LARGEST_HEADER,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_CLOSING_GRACE)
        self._runners[endpoint.id] = runner

        async def start() -> None:
            await runner.setup()
            await web.SockSite(runner, listener).start()

        task = asyncio.create_task(start())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _handle(self, request: web.BaseRequest, endpoint: Endpoint) -> web.StreamResponse:
        try:
            function_id, function = self._target(endpoint)
        except NotFound:
            return headers.refusal(404, "nothing is deployed at this address")
        if _needs_proxy_token(function, endpoint.method) and not self._has_proxy_token(request):
            return headers.refusal(401, "this endpoint needs the headers Modal-Key and Modal-Secret")
        if function.is_server:
            return await self._servers.handle(request, function_id)
        if function.class_parameter_info.schema:
            parameters, wrong = parameters_of_query(list(function.class_parameter_info.schema), request.query)
            if parameters is None:
                return headers.refusal(400, f"parameters of the class: {', '.join(wrong)}")
            function_id = self._cloud.functions.bind(function_id, parameters, api_pb2.FunctionOptions()).id
        return await self._web.handle(request, function_id, endpoint.method)

    def _target(self, endpoint: Endpoint) -> tuple[str, api_pb2.Function]:
        """Raises NotFound."""
        app = self._cloud.apps.get(endpoint.app_id)
        name = endpoint.id.split("/", 2)[2]
        if endpoint.method:
            name = name.removesuffix(f".{endpoint.method}")
        function_id = app.function_ids.get(name, "")
        if not app.running or not function_id:
            raise NotFound(endpoint.id)
        live = self._cloud.functions.get(function_id).live
        if live is None:
            raise NotFound(endpoint.id)
        return function_id, live.function

    def _has_proxy_token(self, request: web.BaseRequest) -> bool:
        """The local cloud's own token serves as proxy token."""
        settings = self._cloud.settings
        given = (request.headers.get("Modal-Key", ""), request.headers.get("Modal-Secret", ""))
        return hmac.compare_digest(given[0].encode(), settings.token_id.encode()) and hmac.compare_digest(
            given[1].encode(), settings.token_secret.encode()
        )


def _needs_proxy_token(function: api_pb2.Function, method: str) -> bool:
    if function.is_server:
        return not function.http_config.unauthenticated
    webhook = function.method_definitions[method].webhook_config if method else function.webhook_config
    return webhook.requires_proxy_auth
