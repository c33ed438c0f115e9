"""What the tests of restarts deploy."""

import time

import modal

app = modal.App("durable")
notes = modal.Dict.from_name("durable-notes", create_if_missing=True)
volume = modal.Volume.from_name("durable-volume", create_if_missing=True, version=2)


@app.function(volumes={"/data": volume}, max_containers=1)
def work(key, seconds):
    notes[key] = notes.get(key, 0) + 1
    time.sleep(seconds)
    with open(f"/data/{key}", "w") as file:
        file.write("done")
    volume.commit()
    return key


@app.function(retries=modal.Retries(max_retries=1, initial_delay=5.0))
def second_try(key):
    notes[key] = notes.get(key, 0) + 1
    if notes[key] == 1:
        raise RuntimeError("first")
    return "second"
