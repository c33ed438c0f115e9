"""An app whose functions are short: what happens to them is ordered from outside."""

from __future__ import annotations

import os

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
