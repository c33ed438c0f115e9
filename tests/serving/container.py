"""A serving container in a test: a supervisor with the engine stand-in's real processes, ports and signals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.loopback import Answer, request
from serving.supervisor import Supervisor
from serving.warmup import PROMPT_SIZES
from tests.serving.conftest import API_KEY, Stack, processes_with

WARM_UP_REQUESTS = 4 + len(PROMPT_SIZES) + 8

Make = Callable[..., "Container"]


@dataclass
class Container:
    """A supervisor with what a container gives it; `died` counts how often it ended the container."""

    stack: Stack
    environment: dict[str, str]
    lines: list[str] = field(default_factory=list)
    died: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(
            self.stack.recipe,
            self.stack.commit,
            self.stack.key,
            environment=self.environment,
            out=self.lines.append,
            die=lambda: self.died.append(time.monotonic()),
        )

    def ask(self, prompt: str = "Say hello.", key: str = API_KEY) -> Answer:
        payload = {"model": "tiny-glm", "messages": [{"role": "user", "content": prompt}], "max_tokens": 16}
        return request(self.stack.recipe.port, "POST", "/v1/chat/completions", payload=payload, api_key=key, timeout=20)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def wait_until(self, condition: Callable[[], object], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.lines[-30:])
            time.sleep(0.02)

    def engine_pids(self) -> list[int]:
        return processes_with(self.stack.recipe.model_path(self.stack.commit))
