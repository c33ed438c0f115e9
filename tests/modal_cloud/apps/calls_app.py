"""What the tests of calls deploy."""

import gc
import os
import sys
import time

import modal

app = modal.App("calls")
notes = modal.Dict.from_name("calls-notes", create_if_missing=True)
volume = modal.Volume.from_name("calls-volume", create_if_missing=True, version=2)


class Unhappy(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def note(key: str) -> int:
    """Counts across containers; returns the new count."""
    count = notes.get(key, 0) + 1
    notes[key] = count
    notes[f"{key}/{count}"] = time.time()
    return count


@app.function()
def interpreter():
    main = sys.modules["__main__"]
    return {
        "argv": [os.path.basename(argument) for argument in sys.argv],
        "main": (main.__name__, main.__spec__.name),
        "first on the path": sys.path[:2],
        "collects": (gc.isenabled(), gc.get_threshold()),
    }


# As many as the machine can start at once: a map would ask for one container per input.
@app.function(max_containers=2)
def double(x):
    print(f"doubling {x!r:.40}")
    return x * 2


@app.function(env={"COLOUR": "blue"}, image=modal.Image.debian_slim().env({"SHAPE": "round thing"}).workdir("/tmp"))
def surroundings():
    return os.environ["COLOUR"], os.environ["SHAPE"], os.getcwd(), "MODAL_TOKEN_SECRET" in os.environ


@app.function(max_containers=2)
def unhappy(code):
    raise Unhappy(code)


@app.function(retries=modal.Retries(max_retries=2, initial_delay=1.0, backoff_coefficient=1.0))
def flaky(key, good_try):
    count = note(key)
    if count < good_try:
        raise Unhappy(count)
    return count


@app.function(timeout=2, startup_timeout=60)
def slow(seconds):
    time.sleep(seconds)
    return os.environ["MODAL_TASK_ID"]


@app.function(max_containers=1)
def one_at_a_time(key, seconds):
    note(key)
    time.sleep(seconds)
    return key


@app.function()
def dies(key):
    note(key)
    os._exit(7)


@app.function()
def count_to(n):
    yield from range(n)


@app.function()
def quadruple(x):
    return double.remote(double.remote(x))


@app.function(volumes={"/data": volume})
def write(name, text):
    with open(f"/data/{name}", "w") as file:
        file.write(text)
    volume.commit()


@app.function(volumes={"/data": volume})
def read(name):
    volume.reload()
    with open(f"/data/{name}") as file:
        return file.read()


@app.function(volumes={"/data": volume})
def reload_with_open_file(name):
    with open(f"/data/{name}", "w") as file:
        file.write("x")
        file.flush()
        volume.reload()


@app.cls()
class Counter:
    @modal.enter()
    def start(self):
        self.count = 100

    @modal.method()
    def add(self, n):
        self.count += n
        return self.count


@app.cls()
class NeverReady:
    @modal.enter()
    def start(self):
        raise Unhappy(42)

    @modal.method()
    def hello(self):
        return "hello"
