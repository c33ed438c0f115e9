"""Requests whose answer has not begun, counted in the engine's HTTP process: the sign of a hang that no engine gives.

Both engines' gauges of running and waiting requests come from the process that computes (SGLang's scheduler, vLLM's
engine core), now and then: one that hangs with the very next request says for ever that it has nothing to do.

Counted is a POST from the moment when its whole body is here to the first byte of its answer's body. Neither a client
that is slow to send nor one that is slow to read makes an engine look busy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

UNANSWERED_METRIC = "glm_serving_unanswered_requests"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Unanswered:
    def __init__(self) -> None:
        self.count = 0

    def metrics_text(self) -> str:
        return (
            f"# HELP {UNANSWERED_METRIC} Requests whose answer has not begun.\n"
            f"# TYPE {UNANSWERED_METRIC} gauge\n"
            f"{UNANSWERED_METRIC} {self.count}\n"
        )

    def follow(self, receive: Receive, send: Send) -> tuple[Receive, Send, Callable[[], None]]:
        """For one request: what to call the application with, and what to call when it has returned."""
        counted = answered = False

        def settle() -> None:
            nonlocal counted, answered
            answered = True
            if counted:
                counted = False
                self.count -= 1

        async def receive_on() -> Message:
            nonlocal counted
            message = await receive()
            complete = message["type"] == "http.request" and not message.get("more_body", False)
            if complete and not counted and not answered:
                counted = True
                self.count += 1
            return message

        async def send_on(message: Message) -> None:
            if not answered and message["type"] == "http.response.body" and message.get("body"):
                settle()
            await send(message)

        return receive_on, send_on, settle
