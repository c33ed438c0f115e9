"""A Modal app for the tests of jobs: each call counts itself, takes its time and may fail."""

import time

import modal

app = modal.App("counting")


@app.function()
def work(request: dict) -> dict:
    calls = modal.Dict.from_name("counting-jobs")
    calls[f"ran/{request['job']}/{time.time_ns()}"] = True
    calls[f"progress/{request['job']}"] = {"line": "half of it", "at": time.time()}
    time.sleep(request.get("seconds", 0))
    if request.get("fail"):
        raise ValueError("out of luck")
    return {"job": request["job"]}
