"""What the tests of restarts deploy."""

import os
import time

import modal

app = modal.App("durable")
notes = modal.Dict.from_name("durable-notes", create_if_missing=True)
volume = modal.Volume.from_name("durable-volume", create_if_missing=True, version=2)


@app.function(volumes={"/data": volume}, max_containers=1, env={"COLOUR": "green"})
def work(key, wait):
    """With `wait`, not before the note `go` is there."""
    notes[key] = notes.get(key, 0) + 1
    while wait and not notes.get("go"):
        time.sleep(0.05)
    with open(f"/data/{key}", "w") as file:
        file.write("done")
    volume.commit()
    return key if os.environ["COLOUR"] == "green" else "its environment is gone"


@app.function(retries=modal.Retries(max_retries=1, initial_delay=3.0))
def second_try(key):
    notes[key] = notes.get(key, 0) + 1
    if notes[key] == 1:
        raise RuntimeError("first")
    return "second"
