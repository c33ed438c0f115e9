"""A page in a real browser without a window: Debian's Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp


def browser() -> str | None:
    """Its path; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


async def shown(url: str, texts: Sequence[str], profile: Path, seconds: float = 30) -> tuple[str, list[str]]:
    """Opens the page and waits until all texts can be read on it. What can be read then, and what the browser
    complained of (errors of scripts, refused resources). Raises AssertionError with the page's text if not in time."""
    program = browser()
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        *(program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
        *(f"--user-data-dir={profile}", "--no-first-run", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        port = 0
        while not port:
            line = (await asyncio.wait_for(process.stderr.readline(), seconds)).decode(errors="replace")
            assert line, f"{program} ended at once"
            found = re.search(r"listening on ws://127\.0\.0\.1:(\d+)/", line)
            port = int(found[1]) if found else 0
        drained = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as http:
            pages = await (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
            (address,) = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
            async with http.ws_connect(address, max_msg_size=0) as socket:
                answer = await _Page(socket).read(url, texts, seconds)
        drained.cancel()
        return answer
    finally:
        process.terminate()
        await process.wait()


class _Page:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._complaints: list[str] = []

    async def read(self, url: str, texts: Sequence[str], seconds: float) -> tuple[str, list[str]]:
        await self._ask("Log.enable")
        await self._ask("Runtime.enable")
        await self._ask("Page.navigate", url=url)
        deadline = time.monotonic() + seconds
        while True:
            answer = await self._ask("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
            text = answer["result"]["value"]
            missing = [each for each in texts if each not in text]
            if not missing:
                return text, self._complaints
            assert time.monotonic() < deadline, f"{missing} not on the page ({self._complaints}):\n{text}"
            await asyncio.sleep(0.05)

    async def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=30)
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Log.entryAdded":
                self._complaints.append(message["params"]["entry"]["text"])
            if message.get("method") == "Runtime.exceptionThrown":
                self._complaints.append(message["params"]["exceptionDetails"]["text"])
