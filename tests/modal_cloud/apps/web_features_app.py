"""What the tests of web endpoints deploy: ASGI, WSGI, FastAPI, a server with WebSockets."""

# Annotations must be types here: Modal reads those of class parameters.
import subprocess
import sys

import modal

app = modal.App("web-features")
events = modal.Queue.from_name("web-features-events", create_if_missing=True)
SMALL = {"max_containers": 1, "scaledown_window": 30}


@app.cls(**SMALL)
class Greeter:
    name: str = modal.parameter()
    times: int = modal.parameter(default=1)

    @modal.fastapi_endpoint()
    def greet(self, greeting: str = "hi") -> dict[str, str]:
        return {"says": " ".join([f"{greeting} {self.name}"] * self.times)}


@app.function(**SMALL)
@modal.concurrent(max_inputs=20)
@modal.asgi_app()
def asgi():
    async def application(scope, receive, send):
        assert scope["type"] in ("http", "websocket")
        await (websocket if scope["type"] == "websocket" else http)(scope, receive, send)

    async def http(scope, receive, send):
        """Answers each piece of the body as it comes."""
        headers = [(b"content-type", b"text/plain"), (b"x-query", scope["query_string"])]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body = message.get("body", b"").upper()
            await send({"type": "http.response.body", "body": body, "more_body": message.get("more_body", False)})
            if not message.get("more_body"):
                return

    async def websocket(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        if scope["path"] == "/closed":
            await send({"type": "websocket.close", "code": 4001})
            return
        offered = scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "bye":
                await send({"type": "websocket.close", "code": 4000, "reason": "as you wish"})
                return
            if message.get("bytes") is not None:
                await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})
            else:
                await send({"type": "websocket.send", "text": f"{scope['path']} {message['text']}"})
        await events.put.aio(f"left with {message['code']}")

    return application


@app.function(**SMALL)
@modal.concurrent(max_inputs=4)
@modal.wsgi_app()
def wsgi():
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
        return [environ["REQUEST_METHOD"].encode(), b" ", body]

    return application


@app.function(**SMALL)
@modal.fastapi_endpoint(method="POST", docs=True, requires_proxy_auth=True)
def item(item: dict[str, int]) -> dict[str, int]:
    return {"total": sum(item.values())}


_SERVER = """
import asyncio
from aiohttp import web

async def echo(request):
    socket = web.WebSocketResponse(protocols=["two"])
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            await socket.close(code=4000)
        else:
            await socket.send_str(f"{request.path} {message.data}")
    return socket

application = web.Application()
application.router.add_get("/{tail:.*}", echo)
web.run_app(application, port=8000, print=None)
"""


@app.function(**SMALL)
@modal.concurrent(max_inputs=10)
@modal.web_server(8000, startup_timeout=20)
def web_server():
    subprocess.Popen([sys.executable, "-c", _SERVER])


@app.server(
    port=8000,
    unauthenticated=True,
    startup_timeout=20,
    routing_region="us-east",
    min_containers=1,
    max_containers=1,
)
class Server:
    @modal.enter()
    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _SERVER])

    @modal.exit()
    def stop(self) -> None:
        self.process.terminate()
