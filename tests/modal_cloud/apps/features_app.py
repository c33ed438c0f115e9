"""What the tests of functions and classes deploy: generators, batches, classes with parameters."""

# Annotations must be types here: Modal reads those of class parameters.
import asyncio
import os
import time

import modal

app = modal.App("features")
events = modal.Queue.from_name("features-events", create_if_missing=True)
SMALL = {"max_containers": 1, "scaledown_window": 30}


@app.function(**SMALL)
@modal.concurrent(max_inputs=20)
async def add(x: int, y: int = 1) -> int:
    await asyncio.sleep(0.01)
    return x + y


@app.function(**SMALL)
def letters(word: str):
    yield from word
    if word == "bad":
        time.sleep(1)  # the SDK takes the letters and the call's end from two streams: what comes after the end is lost
        raise ValueError("no more letters")


@app.function(**SMALL)
@modal.batched(max_batch_size=4, wait_ms=300)
async def squares(numbers: list[int]) -> list[tuple[int, int]]:
    return [(number * number, len(numbers)) for number in numbers]


@app.function(**SMALL, env={"COLOUR": "blue"})
def surroundings() -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in ("COLOUR", "MODAL_TASK_ID", "LOCAL_GPU")}


@app.cls(**SMALL)
@modal.concurrent(max_inputs=4, target_inputs=2)
class Greeter:
    name: str = modal.parameter()
    times: int = modal.parameter(default=1)

    @modal.enter()
    async def arrive(self) -> None:
        self.log = [f"enter {self.name}"]

    @modal.method()
    def greet(self, greeting: str = "hello") -> str:
        return " ".join([f"{greeting} {self.name}"] * self.times)

    @modal.method()
    def spell(self):
        yield from self.name

    @modal.method()
    async def pairs(self, n: int):
        for number in range(n):
            yield number, number * number

    @modal.method()
    def where(self, seconds: float = 0.0) -> tuple[str, list[str]]:
        time.sleep(seconds)
        return os.environ["MODAL_TASK_ID"], self.log

    @modal.method()
    async def remember(self, text: str) -> None:
        await events.put.aio(text)

    @modal.method()
    def answer(self) -> str:
        """Takes what is put into the queue later, and answers on another partition."""
        found = events.get(timeout=5, partition="questions")
        events.put(found.upper(), partition="answers")
        return found

    @modal.exit()
    def leave(self) -> None:
        events.put(f"exit {self.name}")
