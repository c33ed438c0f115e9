"""What the tests of the CLI run and deploy."""

import os
import subprocess
import sys
from pathlib import Path

import modal

app = modal.App("cli-app")
_HERE = Path(__file__).parent
image = (
    modal.Image.debian_slim()
    .pip_install("aiohttp>=3", "no-such-package-anywhere")
    .run_commands("exit 1")
    .add_local_file(__file__, "/opt/copied.py", copy=True)
    .env({"SEEN": "1"})
    .add_local_dir(_HERE, "/opt/apps", ignore=["__pycache__", "*_app.py"])
)


@app.function(image=image, max_containers=1)
def hello(name: str = "nobody", times: int = 1) -> str:
    print(f"hello {name} " * times)
    print("shipped", os.environ["SEEN"], Path("/opt/copied.py").is_file(), sorted(os.listdir("/opt/apps"))[:2])
    return name


@app.server(port=8000, unauthenticated=True, startup_timeout=60, min_containers=1, max_containers=1)
class Files:
    @modal.enter()
    def start(self) -> None:
        print(f"files of {os.environ['MODAL_TASK_ID']}")
        subprocess.Popen([sys.executable, "-m", "http.server", "8000", "--directory", "/root"])


@app.local_entrypoint()
def main(name: str) -> None:
    print("returned", hello.remote(name))
