"""The web server inside the containers of `web_app`: says who it is, and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from aiohttp import web

events: list[str] = []


async def who(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "task": os.environ["MODAL_TASK_ID"],
            "version": json.loads(os.environ["WEB_APP"])["version"],
            "gpu": os.environ.get("LOCAL_GPU"),
            "path": request.raw_path,
            "method": request.method,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "body": len(await request.read()),
        }
    )


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return await who(request)


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    try:
        for number in range(int(request.query.get("count", "5"))):
            await response.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(float(request.query.get("pause", "0.2")))
    except (ConnectionError, asyncio.CancelledError):
        events.append("disconnected")
        raise
    return response


async def big(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * int(request.query["bytes"]))


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.query["code"]), headers=[("X-Twice", "a"), ("X-Twice", "b")])


async def seen(request: web.Request) -> web.Response:
    return web.json_response(events)


async def die(request: web.Request) -> web.Response:
    os._exit(9)


async def kill_container(request: web.Request) -> web.StreamResponse:
    """Takes the whole container along, in the middle of an answer."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"half an ans")
    await asyncio.sleep(0.3)
    os.kill(os.getppid(), 9)
    await asyncio.sleep(5)
    return response


def main() -> None:
    app = web.Application(client_max_size=1 << 30, handler_args={"handler_cancellation": True})
    app.router.add_get("/slow", slow)
    app.router.add_get("/stream", stream)
    app.router.add_get("/big", big)
    app.router.add_get("/status", status)
    app.router.add_get("/seen", seen)
    app.router.add_get("/die", die)
    app.router.add_get("/kill-container", kill_container)
    app.router.add_route("*", "/{rest:.*}", who)
    web.run_app(app, host="0.0.0.0", port=int(sys.argv[1]), print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
