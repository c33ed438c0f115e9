"""A job that goes on where it was, one that does not listen, one that can't be preempted, a server."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import modal

app = modal.App("preempted")
image = modal.Image.debian_slim()
notes = modal.Dict.from_name("preempted-notes", create_if_missing=True)
TASK = os.environ.get("MODAL_TASK_ID", "")


def note(key: str) -> None:
    """Adds the container to a list."""
    notes[key] = [*notes.get(key, []), TASK]


@app.cls(image=image, scaledown_window=2)
class Job:
    @modal.method()
    def train(self, name: str, steps: int) -> int:
        """One step each 0.1 s, kept when interrupted. How many steps this container made."""
        self.name = name
        note(f"{name} begun")
        done = before = notes.get(f"{name} steps", 0)
        try:
            while done < steps:
                time.sleep(0.1)
                done += 1
        except KeyboardInterrupt:
            notes[f"{name} steps"] = done
            note(f"{name} interrupted")
            raise
        return done - before

    @modal.exit()
    def leave(self) -> None:
        note(f"{self.name} left")


@app.function(image=image, scaledown_window=2)
def deaf(name: str) -> str:
    """The first container does not listen to an interrupt."""
    note(f"{name} begun")
    first = len(notes[f"{name} begun"]) == 1
    until = time.monotonic() + (60 if first else 0.1)
    while (left := until - time.monotonic()) > 0:
        try:
            time.sleep(left)
        except KeyboardInterrupt:
            note(f"{name} interrupted")
    return TASK


@app.function(image=image, scaledown_window=2, nonpreemptible=True)
def kept(name: str) -> str:
    note(f"{name} begun")
    time.sleep(1.5)
    return TASK


@app.server(image=image, port=8000, unauthenticated=True, min_containers=1, routing_region="us-east")
class Files:
    @modal.enter()
    def start(self) -> None:
        note("files begun")
        os.makedirs("/tmp/files", exist_ok=True)
        with open("/tmp/files/task", "w") as file:
            file.write(TASK)
        subprocess.Popen([sys.executable, "-m", "http.server", "8000", "--directory", "/tmp/files"])

    @modal.exit()
    def leave(self) -> None:
        note("files left")
