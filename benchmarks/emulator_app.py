"""What `benchmarks.emulator` calls: nothing is done in it, so that what is measured is the way there and back."""

from __future__ import annotations

import modal

app = modal.App("emulator-benchmark")
image = modal.Image.debian_slim()


@app.function(image=image, min_containers=1, max_containers=1)
def warm(x: int) -> int:
    return x


@app.function(image=image, max_containers=1, scaledown_window=2)
def cold(x: int) -> int:
    return x
