"""An app whose functions are short: what happens to them is ordered from outside."""

from __future__ import annotations

import os
import time

import modal

app = modal.App("faulty")
image = modal.Image.debian_slim()
volume = modal.Volume.from_name("faulty-files", create_if_missing=True, version=2)
journal = modal.Dict.from_name("faulty-journal", create_if_missing=True)


@app.function(image=image, volumes={"/files": volume}, scaledown_window=2)
def write(name: str, size: int) -> str:
    """Writes a file in pieces and commits; the error's name and number where that fails."""
    journal[f"{name}-{os.environ['MODAL_TASK_ID']}"] = size
    try:
        with open(f"/files/{name}", "wb") as file:
            for _ in range(0, size, 65536):
                file.write(b"x" * 65536)
                file.flush()
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"
    volume.commit()
    return "written"


@app.function(image=image, gpu=["B200:8", "H200:8"], scaledown_window=2)
def compute() -> str:
    return os.environ["LOCAL_GPU"]


@app.function(image=image, max_containers=3, scaledown_window=2)
def side_by_side() -> str:
    time.sleep(2)
    return "there"


@app.function(
    image=image, max_containers=1, scaledown_window=2, retries=modal.Retries(max_retries=1, initial_delay=1.0)
)
@modal.concurrent(max_inputs=2)
def second_attempt(name: str) -> str:
    """Fails at once; the next attempt takes longer than its container needs to say again that the first one failed."""
    if journal.put(name, 1, skip_if_exists=True):
        raise RuntimeError("the first attempt")
    time.sleep(3)
    return os.environ["MODAL_TASK_ID"]
