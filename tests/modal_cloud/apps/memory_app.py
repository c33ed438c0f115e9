"""Functions that take memory, with and without a limit."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import modal

app = modal.App("memory")
image = modal.Image.debian_slim()
notes = modal.Dict.from_name("memory-notes", create_if_missing=True)
MIB = 1 << 20
TAKE = "import sys, time; taken = b'x' * int(sys.argv[1]); time.sleep(30)"


@app.function(image=image, memory=(128, 400), scaledown_window=2)
def take(name: str, mib: int, calm_from: int = 1 << 30) -> int:
    """Takes so much in a process of its own; little from the given attempt on. Which attempt it is."""
    attempt = notes[name] = notes.get(name, 0) + 1
    if attempt >= calm_from:
        mib = 1
    with subprocess.Popen([sys.executable, "-c", TAKE, str(mib * MIB)]) as child:
        time.sleep(3)
        child.kill()
    return attempt


@app.function(image=image, memory=(128, 400), scaledown_window=2)
def share(mib: int, children: int) -> int:
    """Takes so much and forks: no child writes to it, so that it is there once."""
    taken = b"x" * (mib * MIB)
    pids = []
    for _ in range(children):
        pid = os.fork()
        if not pid:
            time.sleep(3)
            os._exit(0 if taken else 1)
        pids.append(pid)
    return sum(os.waitpid(pid, 0)[1] == 0 for pid in pids)


@app.function(image=image, memory=(128, 400), scaledown_window=2)
def map_file(mib: int) -> int:
    """Maps a file of so much and reads all of it."""
    with open("/tmp/large", "wb") as file:
        file.truncate(mib * MIB)
    with open("/tmp/large", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        zeros = sum(mapped[place] == 0 for place in range(0, mib * MIB, 4096))
        time.sleep(1)
        with open("/proc/self/status") as status:
            resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return resident // 1024 if zeros == mib * MIB // 4096 else 0


@app.function(image=image, memory=128, scaledown_window=2)
def request_only(mib: int) -> int:
    taken = b"x" * (mib * MIB)
    time.sleep(2)
    return len(taken) // MIB
