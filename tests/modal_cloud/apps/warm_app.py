"""What a serving app looks like to a schedule and to a bill: a class `Server` behind a web server, on eight GPUs."""

import subprocess
import sys
from pathlib import Path

import modal

app = modal.App("warm", tags={"glm-serving-stack": "me.glm-serving.prod"}, include_source=False)


@app.cls(
    image=modal.Image.debian_slim(python_version="3.11").add_local_python_source("warm_app"),
    gpu="B200:8",
    max_containers=3,
    scaledown_window=2,
)
@modal.concurrent(max_inputs=10)
class Server:
    @modal.web_server(8000, startup_timeout=20)
    def serve(self) -> None:
        Path("/tmp/served").mkdir()
        Path("/tmp/served/health").write_text("ok")
        subprocess.Popen([sys.executable, "-m", "http.server", "8000", "--directory", "/tmp/served"])
