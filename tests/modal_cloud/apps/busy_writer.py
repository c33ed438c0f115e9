"""A function that uses its volume without a pause, while the platform commits in the background."""

import os
import time

import modal

app = modal.App("busy-writer")
volume = modal.Volume.from_name("busy", create_if_missing=True)


@app.function(volumes={"/data": volume}, timeout=60)
def write(seconds: float) -> list[str]:
    errors = []
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        path = f"/data/{number % 50}/{number}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write("x")
            os.stat(path)
        except OSError as error:
            errors.append(str(error))
        number += 1
        time.sleep(0.001)
    return errors
