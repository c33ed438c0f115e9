"""What the chaos run calls: one function or class of each sort. (No postponed annotations: the SDK
reads those of class parameters as types.)"""

from collections.abc import Iterator
from typing import Any

import modal

app = modal.App("chaos")
volume = modal.Volume.from_name("chaos-files", create_if_missing=True, version=2)
notes = modal.Dict.from_name("chaos-notes", create_if_missing=True)
SMALL: dict[str, Any] = {"image": modal.Image.debian_slim(), "max_containers": 2, "scaledown_window": 2}


@app.function(**SMALL)
@modal.concurrent(max_inputs=8)
def square(x: int) -> int:
    return x * x


@app.function(**SMALL)
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.function(**SMALL)
def refuse(x: int) -> None:
    raise KeyError(f"no {x}")


@app.function(**SMALL, retries=modal.Retries(max_retries=3, initial_delay=1.0, backoff_coefficient=1.0))
def second_try(key: str) -> str:
    """Fails until somebody has tried before. (A fault may use up a try: there are some more.)"""
    if notes.put(f"tried {key}", True, skip_if_exists=True):
        raise RuntimeError("the first try")
    return key


@app.function(**SMALL, volumes={"/files": volume})
def keep(name: str, text: str) -> int:
    with open(f"/files/{name}", "w") as file:
        file.write(text)
    volume.commit()
    return len(text)


@app.cls(**SMALL)
class Scale:
    factor: int = modal.parameter(default=3)

    @modal.enter()
    def open(self) -> None:
        self.opened = True

    @modal.method()
    def times(self, x: int) -> int:
        return x * self.factor if self.opened else -1


@app.function(**SMALL)
@modal.concurrent(max_inputs=8)
@modal.asgi_app()
def web() -> Any:
    """Answers `/N` with the square of N, in two pieces."""

    async def respond(scope: dict[str, Any], receive: Any, send: Any) -> None:
        number = int(scope["path"].strip("/"))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"square=", "more_body": True})
        await send({"type": "http.response.body", "body": str(number * number).encode()})

    return respond
