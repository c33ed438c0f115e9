"""A web endpoint and a server on the same backend. WEB_APP (JSON) says how they are declared and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import modal

DECLARED = {
    "name": "web-app",
    "version": "1",
    "fail": "",
    "ingresses": ["web", "server"],
    **json.loads(os.environ.get("WEB_APP", "{}")),
}
if DECLARED["fail"] == "import" and not modal.is_local():
    raise ImportError("this version cannot be imported")

app = modal.App(DECLARED["name"])
volume = modal.Volume.from_name(f"{app.name}-kept", create_if_missing=True)
SHARED = {
    "image": modal.Image.debian_slim(),
    "env": {"WEB_APP": json.dumps(DECLARED)},
    "min_containers": DECLARED.get("min", 0),
    "max_containers": DECLARED.get("max", 3),
    "scaledown_window": DECLARED.get("window", 2),
    "gpu": DECLARED.get("gpu"),
    "routing_region": DECLARED.get("routing", "us-east"),
    "nonpreemptible": DECLARED.get("nonpreemptible", False),
    "enable_memory_snapshot": DECLARED.get("gpu_snapshot", False),
    "experimental_options": {"enable_gpu_snapshot": True} if DECLARED.get("gpu_snapshot") else None,
}


class Backend:
    def open(self) -> None:
        time.sleep(DECLARED.get("enter", 0))
        if DECLARED["fail"] == "enter":
            raise RuntimeError("this version cannot enter")
        if DECLARED["fail"] != "port":
            command = [sys.executable, "-m", "tests.modal_cloud.apps.backend", "8000"]
            self.process = subprocess.Popen(command, cwd="/root", env={**os.environ, "PYTHONPATH": "/root"})
        print("entered", flush=True)

    def shut(self) -> None:
        print("left", flush=True)


if "web" in DECLARED["ingresses"]:

    @app.cls(**SHARED, timeout=60, startup_timeout=DECLARED.get("startup", 20))
    @modal.concurrent(max_inputs=DECLARED.get("at_once", 4), target_inputs=DECLARED.get("target"))
    class Web(Backend):
        @modal.enter()
        def enter(self) -> None:
            self.open()

        @modal.exit()
        def exit(self) -> None:
            self.shut()

        @modal.web_server(8000, startup_timeout=DECLARED.get("startup", 20))
        def serve(self) -> None:
            pass


if "server" in DECLARED["ingresses"]:

    @app.server(
        **SHARED,
        port=8000,
        unauthenticated=DECLARED.get("open", True),
        startup_timeout=DECLARED.get("startup", 20),
        exit_grace_period=15,
        target_concurrency=DECLARED.get("target"),
        max_concurrency=DECLARED.get("most"),
        scaleup_window=DECLARED.get("scaleup"),
    )
    class Serve(Backend):
        @modal.enter()
        def enter(self) -> None:
            self.open()

        @modal.exit()
        def exit(self) -> None:
            self.shut()


@app.function(image=SHARED["image"], env=SHARED["env"], max_containers=2, scaledown_window=2)
def where() -> tuple[str, str]:
    return os.environ["MODAL_TASK_ID"], DECLARED["version"]


@app.function(image=SHARED["image"], env=SHARED["env"], volumes={"/kept": volume})
def keep(text: str) -> str:
    with open("/kept/kept", "w") as file:
        file.write(text)
    volume.commit()
    with open("/kept/kept") as file:
        return file.read()
